"""Calls of the table of system calls as a workload spells them, and what their answers mean to it.

An entry's `form` says which arguments a call takes, in the words of portable scripts; here each
kind of argument is read as an author gives it: a mapping, a size such as "64M", a word.
Interface: `value_of` makes the value that a process is asked, `meaning_of` reads its answer.
Units: bytes.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import attrs

from kernelsim.actors.process.calls.call import Call
from kernelsim.config.number_list import parse_number_list
from kernelsim.errors import ConfigError, SyscallError, WorkloadError, shown
from kernelsim.units import parse_size
from kernelsim.workload.arguments import numbers_of, signed_size, whole_number

WORD_MAX: Final = (1 << 64) - 1


@attrs.frozen
class MappedRange:
    """A mapped range.

    Attributes:
        address: First address.
        length: Bytes.
    """

    address: int
    length: int


def value_of(call: Call, arguments: Sequence[object], fields: Mapping[str, object]) -> object:
    """Return the value that asks for a call.

    Args:
        call: With a form.
        arguments: As many as its form has, in that order.
        fields: Others of the value's fields, by name.

    Raises:
        WorkloadError, ConfigError: An argument is missing, one too many, or not of its kind.
    """
    assert call.form is not None, "found by its name"
    kinds = [kind for kind in call.form.split() if kind != "new"]
    nr_needed = sum(not kind.endswith("?") for kind in kinds)
    unknown = [name for name in fields if name not in attrs.fields_dict(call.value)]
    if not nr_needed <= len(arguments) <= len(kinds) or unknown:
        given = ", ".join([*map(shown, arguments), *unknown])
        raise WorkloadError(f"{call.name} takes {', '.join(kinds) or 'nothing'}, not {given}")
    parts: list[object] = []
    for kind, argument in zip(kinds, arguments, strict=False):
        parts += READERS[kind.rstrip("?")](call, argument)
    return call.value(*parts, **fields)


def meaning_of(call: Call, value: object, answer: Any) -> Any:  # noqa: ANN401 - as the call says
    """Return what an answer means: the range that was mapped, a number or result, or nothing.

    Raises:
        SyscallError: The call failed.
    """
    number = call.errno_of(answer)
    if number:
        raise SyscallError(number, call.name)
    if call.returns == "mapping":
        length: int = getattr(value, "length")  # noqa: B009 - of each value that maps
        return MappedRange(answer, length)
    return None if call.returns == "nothing" else answer


def require_mapping(call: str, mapping: object) -> MappedRange:
    """Return a mapping.

    Raises:
        WorkloadError: It is none.
        ConfigError: Its address or its length is no number that a program could pass.
    """
    if isinstance(mapping, MappedRange):
        whole_number(f"address of {call}", mapping.address, 0, WORD_MAX)
        whole_number(f"length of {call}", mapping.length, 0, WORD_MAX)
        return mapping
    raise WorkloadError(f"{call} wants a mapping, as mmap returns it, not {mapping!r}")


def _region(call: Call, argument: object) -> list[object]:
    mapping = require_mapping(call.name, argument)
    return [mapping.address, mapping.length]


def _size(call: Call, argument: object) -> list[object]:
    return [parse_size(argument, key=f"size of {call.name}")]  # type: ignore[arg-type]


def _increment(_call: Call, argument: object) -> list[object]:
    return [signed_size("increment", argument)]  # type: ignore[arg-type]


def _number(call: Call, argument: object) -> list[object]:
    return [whole_number(f"argument of {call.name}", argument, 0)]


def _word(call: Call, argument: object) -> list[object]:
    if argument not in call.words:
        raise ConfigError(call.name, argument, f"must be one of {', '.join(call.words)}")
    return [argument]


def _nodes(call: Call, argument: object) -> list[object]:
    """Read node numbers: one, several, or a text such as "0-1,3"."""
    try:
        listed = parse_number_list(argument) if isinstance(argument, str) else argument
        numbers = [listed] if isinstance(listed, int) else list(listed)  # type: ignore[call-overload]
    except (TypeError, ValueError):
        rule = 'must be node numbers, such as 1, [0, 1] or "0-1"'
        raise ConfigError(f"nodes of {call.name}", argument, rule) from None
    return [tuple(whole_number(f"node of {call.name}", number, 0) for number in numbers)]


def _pages(call: Call, argument: object) -> list[object]:
    """Read a number a page: addresses, or nodes."""
    return [numbers_of(f"pages of {call.name}", argument)]


def _path(call: Call, argument: object) -> list[object]:
    if not isinstance(argument, str) or not argument:
        raise ConfigError(call.name, argument, 'must be a name such as "/dev/sda"')
    return [argument]


READERS: Final[dict[str, Callable[[Call, object], list[object]]]] = {
    "region": _region,
    "gone": _region,
    "size": _size,
    "increment": _increment,
    "number": _number,
    "count": _number,
    "fd": _number,
    "path": _path,
    "advice": _word,
    "mode": _word,
    "word": _word,
    "nodes": _nodes,
    "pages": _pages,
}
