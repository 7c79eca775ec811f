"""Tests of sizes and times."""

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
    ],
)
def test_parse_size(text, expected):
    """Suffixes are 1024-based, in either case, with or without B or iB."""
    assert expected == units.parse_size(text)


@pytest.mark.parametrize(
    "text", ["", "M", "1.5G", "-1", -1, "64X", "64Mi", "0x10", "1_000", "٣", True, None, "64M\n64M"]
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
    ],
)
def test_parse_duration(text, expected):
    """An int is nanoseconds, a text carries its unit."""
    assert expected == units.parse_duration(text)


@pytest.mark.parametrize("text", ["", "10", "s", "1.5s", "-1s", -1, "3m", "5MS", False, None])
def test_parse_duration_refuses(text):
    """Anything but a whole number with a known unit is refused in one line with key and value."""
    with pytest.raises(ConfigError) as caught:
        units.parse_duration(text, key="until")
    assert str(caught.value).startswith(f"until = {text!r}: a duration is a whole number")


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


@given(st.integers(min_value=0, max_value=2**63 - 1))
def test_whole_texts_read_back(number):
    """A formatted whole size or duration reads back as itself."""
    size, duration = units.format_size(number << 40), units.format_duration(number * 10**9)
    assert number << 40 == units.parse_size(size)
    assert number * 10**9 == units.parse_duration(duration)


def test_page_constants_agree():
    """A page is 4 KiB, as on x86-64."""
    assert units.PAGE_SIZE == 4 * units.KIB == 1 << units.PAGE_SHIFT
