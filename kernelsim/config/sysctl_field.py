"""What the table of tunables keeps of each key: its attribute on `Sysctl`, with range and meaning.

Interface: `knob` for a key that holds a number, `word` for one that can hold one word only.
"""

from collections.abc import Mapping
from typing import Any

import attrs

SysctlValue = int | str | tuple[int, ...] | None


def knob(
    name: str,
    default: SysctlValue,
    minimum: int,
    maximum: int,
    unit: str,
    doc: str,
    *,
    idle: str = "",
    text_format: str = "{}",
    words: Mapping[str, int] | None = None,
    mask: int = -1,
) -> Any:  # noqa: ANN401 (an attrs field)
    """Return the field of one integer key.

    Args:
        name: Key.
        default: Value without a setting.
        minimum: Lowest value.
        maximum: Highest value.
        unit: Of the value.
        doc: What it does.
        idle: Why a write changes nothing yet.
        text_format: How the kernel prints it.
        words: Words that may be written for values.
        mask: Bits of a written value that have a meaning.
    """
    limits = {"minimum": minimum, "maximum": maximum, "unit": unit}
    limits |= {"text_format": text_format, "aliases": words or {}, "mask": mask}
    return attrs.field(default=default, metadata={"name": name, "doc": doc, "idle": idle, **limits})


def word(name: str, only: str, doc: str, *, idle: str) -> Any:  # noqa: ANN401 (an attrs field)
    """Return the field of a key that can hold one word only, and why."""
    metadata = {"name": name, "words": (only,), "doc": doc, "idle": idle}
    return attrs.field(default=only, metadata=metadata)
