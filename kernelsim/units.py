"""Sizes and times: constants, the types of page numbers, and their texts.

Interface: `parse_size`, `parse_duration` read what people write in machines, workloads and
options, by one rule everywhere: a bare number is bytes or nanoseconds, a unit and decimals may be
given, nothing is rounded. `format_size`, `format_duration` write for people (exact numbers belong
into files as integers). All sizes are 1024-based, as Linux counts them.
Units: bytes and nanoseconds, always `int`.
"""

import re
from collections.abc import Mapping
from numbers import Integral
from typing import Final

from kernelsim.errors import ConfigError

PAGE_SHIFT: Final = 12  # x86-64
PAGE_SIZE: Final = 1 << PAGE_SHIFT  # bytes
CACHE_LINE_SIZE: Final = 64  # bytes; x86, L1_CACHE_BYTES
SECTOR_SIZE: Final = 512  # bytes; include/linux/blk_types.h
SECTORS_PER_PAGE: Final = PAGE_SIZE // SECTOR_SIZE
KIB: Final = 1 << 10
MIB: Final = 1 << 20
GIB: Final = 1 << 30
TIB: Final = 1 << 40
NS_PER_US: Final = 1_000
NS_PER_MS: Final = 1_000_000
NS_PER_S: Final = 1_000_000_000
HZ: Final = 250  # ticks of the kernel a second, as Debian builds it
NS_PER_JIFFY: Final = NS_PER_S // HZ
CENTISECONDS_PER_S: Final = 100  # unit of vm.dirty_expire_centisecs and its like

SIZE_SUFFIXES: Final = {"": 1, "k": KIB, "m": MIB, "g": GIB, "t": TIB}
SIZE_PATTERN: Final = re.compile(
    r"([0-9]{1,40})(?:\.([0-9]{1,40}))? ?([kmgt]?)(?:i?b)?", re.IGNORECASE | re.ASCII
)
SIZE_RULE: Final = (
    "a size is a whole number of bytes, written as one or with K, M, G or T (64M, 512KiB, 1.5G)"
)

DURATION_UNITS: Final = {
    "": 1,
    "ns": 1,
    "us": NS_PER_US,
    "ms": NS_PER_MS,
    "s": NS_PER_S,
    "min": 60 * NS_PER_S,
    "h": 3600 * NS_PER_S,
}
DURATION_PATTERN: Final = re.compile(
    r"([0-9]{1,40})(?:\.([0-9]{1,40}))? ?(|ns|us|ms|s|min|h)", re.ASCII
)
DURATION_RULE: Final = (
    "a duration is a whole number of ns, written as one or with us, ms, s, min or h (10s, 0.5ms)"
)


def parse_size(text: str | int, *, key: str = "size") -> int:
    """Read a size such as `"64M"`, `"1.5GiB"`, `"4096"` or a number of bytes.

    Args:
        text: Number with an optional suffix, in either case; `K`, `KB` and `KiB` are 1024.
        key: Name of the setting for the error.

    Returns:
        Bytes, 0 or more.

    Raises:
        ConfigError: No number with a known suffix, negative, or no whole number of bytes.
    """
    size_bytes = _exact(text, SIZE_PATTERN, SIZE_SUFFIXES)
    if size_bytes is None:
        raise ConfigError(key, text, SIZE_RULE)
    return size_bytes


def parse_duration(text: str | int, *, key: str = "duration") -> int:
    """Read a duration such as `"10s"`, `"0.5ms"`, `"2min"`, `"10"` or a number of nanoseconds.

    Args:
        text: Number with an optional unit; without one it is nanoseconds.
        key: Name of the setting for the error.

    Returns:
        Nanoseconds, 0 or more.

    Raises:
        ConfigError: No number with a known unit, negative, no whole number of nanoseconds, or
            2**63 ns or more.
    """
    duration_ns = _exact(text, DURATION_PATTERN, DURATION_UNITS)
    if duration_ns is None:
        raise ConfigError(key, text, DURATION_RULE)
    if duration_ns >> 63:
        raise ConfigError(key, text, "virtual time ends at 2**63 ns, after 292 years")
    return duration_ns


def _exact(text: object, pattern: re.Pattern[str], units: Mapping[str, int]) -> int | None:
    """Return the number of smallest units a text means; None if it means no whole number."""
    if isinstance(text, bool):
        return None
    if isinstance(text, Integral):  # NumPy's integers are such, too
        return int(text) if int(text) >= 0 else None
    match = pattern.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None:
        return None
    decimals = match[2] or ""
    whole, rest = divmod(int(match[1] + decimals) * units[match[3].lower()], 10 ** len(decimals))
    return None if rest else whole


def format_size(size_bytes: int) -> str:
    """Write a size for people: the largest fitting unit, at most one decimal, rounded down."""
    for unit, name in ((TIB, "TiB"), (GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if abs(size_bytes) >= unit:
            return f"{scaled(size_bytes, unit, 1)} {name}"
    return f"{size_bytes} B"


def format_duration(duration_ns: int) -> str:
    """Write a duration for people: s, ms, us or ns, at most three decimals, rounded down."""
    for unit, name in ((NS_PER_S, "s"), (NS_PER_MS, "ms"), (NS_PER_US, "us")):
        if abs(duration_ns) >= unit:
            return f"{scaled(duration_ns, unit, 3)} {name}"
    return f"{duration_ns} ns"


def scaled(value: int, unit: int, decimals: int) -> str:
    """Divide without floats; zeros at the end are left out, the rest is cut towards zero."""
    sign = "-" if value < 0 else ""
    whole, rest = divmod(abs(value), unit)
    digits = str(rest * 10**decimals // unit).rjust(decimals, "0").rstrip("0")
    return f"{sign}{whole}.{digits}" if digits else f"{sign}{whole}"
