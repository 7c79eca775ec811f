"""Print a machine file that explains itself: every key with its meaning, rule and default.

All of it is read from the classes that read such files, so it cannot say anything else than they
do. Keys that may be left out stand behind a `#` with their default.
Interface: `example_text`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any, Final

import attrs

from kernelsim.config.latency import LatencySpec
from kernelsim.config.machine_form import (
    DEVICE_KINDS,
    DeviceToml,
    FileToml,
    MachineToml,
    NodeToml,
    SwapToml,
)
from kernelsim.config.sysctl import SYSCTLS, SysctlEntry
from kernelsim.config.sysctl_write import rule_of
from kernelsim.config.toml_text import value_text
from kernelsim.units import DURATION_RULE, SIZE_RULE, format_duration

__all__ = ["example_text"]

WIDTH: Final = 100  # characters a line
SHOWN: Final = ("cpus", "memory", "kind")  # keys with a default that an example has all the same
EXAMPLE_KIND: Final = "ssd"
RESERVE_KBYTES: Final = 8192  # an example for what is computed at boot
UNITS: Final = {
    "_ns": "ns",
    "_hz": "Hz",
    "_bytes_per_s": "bytes a second",
    "_permille": "thousandths",
}


def example_text() -> str:
    """Return the text of a machine file; `load_machine` reads it."""
    return "".join(f"{line}\n" for line in _lines())


def _lines() -> Iterator[str]:
    yield from _prose("A machine for kernelsim: kernelsim run WORKLOAD --machine THIS_FILE.toml")
    yield from _prose(
        "A line such as #arch shows a default; remove its # to change it. "
        f"Sizes and durations: {SIZE_RULE}; {DURATION_RULE}."
    )
    for field in attrs.fields(MachineToml):
        if "doc" in field.metadata:
            yield from _key_lines(field)
    yield from _table("[[node]]", "A NUMA node; another [[node]] for each more", NodeToml)
    yield from _table("[[device]]", "A disk; any number of them", DeviceToml)
    yield from _table("[[swap]]", "A swap partition; any number of them", SwapToml)
    yield from _table("[[files]]", "A file on a disk; any number of them", FileToml)
    yield from ("", "[latency]")
    yield from _prose("What each step of the hardware and the kernel costs.")
    for field in attrs.fields(LatencySpec):
        yield from _latency_lines(field)
    yield from ("", "[sysctl]")
    yield from _prose("Tunables in force when the workload starts, by the kernel's names.")
    for entry in SYSCTLS.values():
        yield from _sysctl_lines(entry)


def _table(head: str, doc: str, cls: type[Any]) -> Iterator[str]:
    yield from ("", head)
    yield from _prose(f"{doc}.")
    for field in attrs.fields(cls):
        yield from _key_lines(field)


def _key_lines(field: attrs.Attribute[Any]) -> Iterator[str]:
    """Yield the lines of a key: given if it must be or makes the example, else commented out."""
    told = field.metadata
    if "of_kind" in told:
        yield from _kind_lines(field.name, told["doc"], told["rule"], told["of_kind"])
        return
    is_given = field.default is attrs.NOTHING or field.name in SHOWN
    need = " It must be given." if field.default is attrs.NOTHING else ""
    yield from _prose(f"{told['doc']}. Must be {told['rule']}.{need}")
    yield f"{'' if is_given else '#'}{field.name} = {value_text(told['example'])}"


def _kind_lines(name: str, doc: str, rule: str, attribute: str) -> Iterator[str]:
    """Yield the lines of a figure of a disk, whose default is that of the disk's kind."""
    texts = {kind: _shown(name, getattr(spec, attribute)) for kind, spec in DEVICE_KINDS.items()}
    defaults = ", ".join(f"{text} for {kind}" for kind, text in texts.items())
    yield from _prose(f"{doc}. Must be {rule}; default {defaults}.")
    yield f"#{name} = {texts[EXAMPLE_KIND]}"


def _shown(name: str, value: int) -> str:
    """Return a figure of a disk as the file has it."""
    return value_text(format_duration(value) if name.endswith("_latency") else value)


def _latency_lines(field: attrs.Attribute[Any]) -> Iterator[str]:
    unit = next(unit for ending, unit in UNITS.items() if field.name.endswith(ending))
    least = field.metadata["minimum"]
    yield from _prose(f"{field.metadata['doc']}. A whole number of {unit}, {least} or more.")
    yield f"#{field.name} = {value_text(field.default)}"


def _sysctl_lines(entry: SysctlEntry) -> Iterator[str]:
    idle = f" It changes nothing yet: {entry.idle}." if entry.idle else ""
    value, computed = entry.default, ""
    if value is None:
        value, computed = RESERVE_KBYTES, " Left out: computed from the memory at boot."
    rule = rule_of(entry).removeprefix("must be ")
    yield from _prose(f"{entry.doc}. Must be {rule}.{computed}{idle}")
    yield f"#{entry.name} = {value_text(value)}"


def _prose(text: str) -> list[str]:
    return textwrap.wrap(
        text, WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False
    )
