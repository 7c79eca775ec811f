"""Lists of numbers as the kernel prints them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelsim.config.number_list import format_number_list, parse_number_list


@given(st.frozensets(st.integers(0, 200)))
def test_what_is_written_reads_back(numbers: frozenset[int]) -> None:
    """Parsing undoes formatting."""
    assert tuple(sorted(numbers)) == parse_number_list(format_number_list(numbers))


def test_runs_become_ranges() -> None:
    """Neighbours are joined, single numbers stand alone."""
    assert "0-3,8" == format_number_list([8, 3, 2, 1, 0])


@pytest.mark.parametrize("text", ["x", "1-", "-1", "3-1", "1,,2", "0-99999999", "²"])
def test_other_text_is_refused(text: str) -> None:
    """Anything but numbers and upward ranges raises ValueError with the rule."""
    with pytest.raises(ValueError, match="ranges"):
        parse_number_list(text)
