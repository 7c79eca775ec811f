"""Checks of what a workload's author passes to a machine or to a process's handle.

Each refuses with a `ConfigError` in one line what would otherwise end in the middle of an actor,
as a bug of ours, or in a run that silently does something else.
"""

from collections.abc import Iterable
from numbers import Integral
from typing import Any, Final

import numpy as np

from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.parts.cpu import Cpu
from kernelsim.errors import ConfigError
from kernelsim.mm.core.mem import I64, U8
from kernelsim.units import PAGE_SHIFT, parse_size

OOM_SCORE_ADJ_MIN: Final = -1000  # include/uapi/linux/oom.h
OOM_SCORE_ADJ_MAX: Final = 1000


def whole_number(key: str, value: object, least: int, most: int | None = None) -> int:
    """Return a whole number of a range, both ends included; `most` None leaves it open.

    Raises:
        ConfigError: It is none, or outside.
    """
    is_whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if is_whole and least <= value and (most is None or value <= most):  # type: ignore[operator]
        return int(value)  # type: ignore[call-overload, no-any-return]
    span = f"of at least {least}" if most is None else f"from {least} to {most}"
    raise ConfigError(key, value, f"must be a whole number {span}")


def signed_size(key: str, value: int | str) -> int:
    """Return a size in bytes that may be negative: an int, or text such as "-64K".

    Raises:
        ConfigError: It is no size, as `units.parse_size` says.
    """
    text = str(value).strip() if isinstance(value, str | Integral) else value
    is_negative = isinstance(text, str) and text.startswith("-")
    try:
        size = parse_size(str(text).removeprefix("-") if is_negative else text)
    except ConfigError as error:
        raise ConfigError(key, value, error.rule) from None
    return -size if is_negative else size


VPN_MAX: Final = (1 << 64 - PAGE_SHIFT) - 1
FLOATS_END: Final = 1 << 53  # from there on not every whole number is one
TASK_COMM_LEN: Final = 16  # bytes of a comm with its NUL; include/linux/sched.h


def process_name(name: object) -> str:
    """Return the name of a process: one printable word or more, cut to what a comm holds.

    Raises:
        ConfigError: It is no text, is empty or holds what does not print.
    """
    if isinstance(name, str) and name.strip() and name.isprintable():
        return name.encode()[: TASK_COMM_LEN - 1].decode(errors="ignore")
    raise ConfigError("name", name, "must be a text that prints in one line, and not be empty")


def oom_score_adj(value: object) -> int:
    """Return a value of oom_score_adj.

    Raises:
        ConfigError: It is no whole number from -1000 to 1000.
    """
    return whole_number("oom_score_adj", value, OOM_SCORE_ADJ_MIN, OOM_SCORE_ADJ_MAX)


def cpus_of(kernel: Kernel, key: str, numbers: object) -> list[Cpu]:
    """Return the CPUs of one number, or of several in their order.

    Raises:
        ConfigError: There is none of a number, or no number.
    """
    cpus = kernel.cpus
    listed: list[Any] = list(numbers) if isinstance(numbers, Iterable) else [numbers]
    known = all(type(number) is int and 0 <= number < len(cpus) for number in listed)
    if not listed or not known or isinstance(numbers, str):
        raise ConfigError(key, numbers, f"the machine has CPUs 0 to {len(cpus) - 1}")
    return [cpus[number] for number in dict.fromkeys(listed)]


def accesses(vpns: Any, writes: Any) -> tuple[I64, U8]:  # noqa: ANN401 - arrays
    """Return page numbers and kinds of access as arrays of the same length, shape (n,).

    Raises:
        ConfigError: They are no two lists of whole numbers of the same length, or a page lies
            behind the last address.
    """
    pages, kinds = _row("vpns", vpns), _row("writes", writes)
    if len(pages) and not 0 <= pages.min() <= pages.max() <= VPN_MAX:
        raise ConfigError("vpns", vpns, f"must be page numbers, from 0 to {VPN_MAX}")
    if len(pages) != len(kinds):
        raise ConfigError("writes", f"{len(kinds)} of them", f"must be {len(pages)}, one a page")
    return pages.astype(np.int64), (kinds != 0).astype(np.uint8)


def numbers_of(key: str, values: Any) -> I64:  # noqa: ANN401 - an array
    """Return whole numbers as an array, shape (n,).

    Raises:
        ConfigError: They are no list of whole numbers.
    """
    numbers: I64 = _row(key, values).astype(np.int64)
    return numbers


def _row(key: str, values: Any) -> Any:  # noqa: ANN401 - arrays
    try:
        row = np.asarray(values)
    except ValueError:  # rows of different lengths
        row = np.empty((0, 0))
    is_whole = row.dtype.kind in "iub" or (
        row.dtype.kind == "f" and bool(((row == np.floor(row)) & (abs(row) < FLOATS_END)).all())
    )
    if row.ndim == 1 and (is_whole or not len(row)):
        return row
    raise ConfigError(key, values, "must be a list of whole numbers")
