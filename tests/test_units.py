"""Tests of sizes and times."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelsim import units
from kernelsim.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (0, 0),
        (4096, 4096),
        ("4096", 4096),
        ("512B", 512),
        ("64K", 64 * 1024),
        ("1024 kB", 1024 * 1024),
        ("64M", 64 * 1024**2),
        ("64MiB", 64 * 1024**2),
        ("6g", 6 * 1024**3),
        (" 2T ", 2 * 1024**4),
        ("1.5G", 3 * 1024**3 // 2),
        ("0.5 KiB", 512),
        ("2.0", 2),
        ("0.0009765625K", 1),
        (np.int64(7), 7),
    ],
)
def test_parse_size(text, expected):
    """Suffixes are 1024-based, in either case, with or without B or iB; decimals are exact."""
    assert expected == units.parse_size(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "M",
        "1.5",
        "0.1K",
        "1.G",
        ".5G",
        1.5,
        "-1",
        -1,
        "64X",
        "64Mi",
        "0x10",
        "1_000",
        "٣",
        True,
        None,
        "64M\n64M",
    ],
)
def test_parse_size_refuses(text):
    """Anything but a whole number with a known suffix is refused in one line with key and value."""
    with pytest.raises(ConfigError) as caught:
        units.parse_size(text, key="nodes.0.size")
    line = str(caught.value)
    assert line.startswith(f"nodes.0.size = {text!r}: a size is a whole number")
    assert "\n" not in line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (7, 7),
        ("7ns", 7),
        ("3us", 3_000),
        ("5 ms", 5_000_000),
        ("10s", 10_000_000_000),
        ("2min", 120_000_000_000),
        ("1h", 3_600_000_000_000),
        ("10", 10),
        ("0.5s", 500_000_000),
        ("0.1us", 100),
        ("9007199254.740993s", 9_007_199_254_740_993_000),  # as a float it would be another
    ],
)
def test_parse_duration(text, expected):
    """A bare number is nanoseconds, as an int and as text; decimals are exact."""
    assert expected == units.parse_duration(text)


@pytest.mark.parametrize(
    "text", ["", "s", "1.5", "0.5ns", "1.0000000001s", 0.5, "-1s", -1, "3m", "5MS", False, None]
)
def test_parse_duration_refuses(text):
    """Anything but a whole number with a known unit is refused in one line with key and value."""
    with pytest.raises(ConfigError) as caught:
        units.parse_duration(text, key="until")
    assert str(caught.value).startswith(f"until = {text!r}: a duration is a whole number")


def test_parse_duration_refuses_what_virtual_time_cannot_reach():
    """A time behind the end of virtual time is refused, not waited for."""
    assert (1 << 63) - 1 == units.parse_duration((1 << 63) - 1)
    with pytest.raises(ConfigError, match=r"duration = '300000000000s': virtual time ends"):
        units.parse_duration("300000000000s")


@pytest.mark.parametrize(
    ("size_bytes", "expected"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (64 * 1024**2, "64 MiB"),
        (2 * 1024**3 - 1, "1.9 GiB"),
        (1024**4, "1 TiB"),
        (-1536, "-1.5 KiB"),
    ],
)
def test_format_size(size_bytes, expected):
    """The largest fitting unit, at most one decimal, never rounded up."""
    assert expected == units.format_size(size_bytes)


@pytest.mark.parametrize(
    ("duration_ns", "expected"),
    [
        (0, "0 ns"),
        (999, "999 ns"),
        (1_000, "1 us"),
        (1_005_000, "1.005 ms"),
        (1_500_000_000, "1.5 s"),
        (90_000_000_000, "90 s"),
        (999_999_999, "999.999 ms"),
        (-2_500, "-2.5 us"),
    ],
)
def test_format_duration(duration_ns, expected):
    """The largest fitting unit, at most three decimals, never rounded up."""
    assert expected == units.format_duration(duration_ns)


@given(st.integers(min_value=0, max_value=(2**63 - 1) // 10**9))
def test_whole_texts_read_back(number):
    """A formatted whole size or duration reads back as itself."""
    size, duration = units.format_size(number << 40), units.format_duration(number * 10**9)
    assert number << 40 == units.parse_size(size)
    assert number * 10**9 == units.parse_duration(duration)


def test_page_constants_agree():
    """A page is 4 KiB, as on x86-64."""
    assert units.PAGE_SIZE == 4 * units.KIB == 1 << units.PAGE_SHIFT
