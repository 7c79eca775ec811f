"""Tests of pictures of many rows: that area is true, where columns lie, what rows are made of."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kernelsim.report.html.memory_map import columns_of
from kernelsim.report.html.mosaic import lines_of_cells
from kernelsim.report.html.record import Life
from kernelsim.report.html.states import KINDS, RECLAIM, binned, kswapd_rows, shares_of
from kernelsim.report.sampler import PROCESS_COLUMNS

pytestmark = [pytest.mark.mission("B6")]


@example([0, 1, 2, 1], 2, 0)
@example([1, 2, 1, 0], 2, 0)
@given(
    st.lists(st.integers(0, 50), min_size=4, max_size=4).filter(any),
    st.integers(2, 9),
    st.integers(0, 2),
)
@settings(max_examples=60, deadline=None)
def test_lines_of_a_cell_are_true_to_area(parts, nr_lines, gap):
    """Kinds lie in their order, each off by less than a line; what has to show has a line."""
    shares = np.array(parts[:3]) / sum(parts)  # the last part stays empty
    cells = lines_of_cells(shares.reshape(1, 1, 3), nr_lines, np.zeros(3, bool), gap=gap)
    lines = cells[:, 0].tolist()
    assert len(lines) == nr_lines + gap
    assert lines[nr_lines:] == [0] * gap
    shown = [kind for kind in lines if kind]
    assert shown == sorted(shown)
    for kind, share in enumerate(shares.tolist()):
        assert abs(lines.count(kind + 1) - share * nr_lines) < 1 - 1e-6
    marked = lines_of_cells(shares.reshape(1, 1, 3), nr_lines, np.array([True, False, False]))
    assert (1 in marked) == (parts[0] > 0)


def test_rows_and_columns_stay_where_they_are():
    """The first row is the lowest; each column is a moment."""
    shares = np.zeros((2, 3, 2))
    shares[0, 1, 0] = shares[1, 2, 1] = 1
    lines = lines_of_cells(shares, 2, np.zeros(2, bool)).tolist()
    assert lines == [[0, 1, 0], [0, 1, 0], [0, 0, 2], [0, 0, 2]]


def test_columns_show_what_was_seen_at_their_beginning():
    """The last, which may reach past the end, shows the last sample."""
    columns, end_s = columns_of(np.array([0, 10, 20, 30, 33]) * 10**8, 33 * 10**8)
    assert (columns.tolist(), end_s) == ([0, 1, 2, 4], 4.0)
    columns, end_s = columns_of(np.array([0, 10, 20, 20]) * 10**8, 20 * 10**8)
    assert (columns.tolist(), end_s) == ([0, 1, 3], 3.0)
    columns, end_s = columns_of(np.array([0]), 0)
    assert columns.tolist() == [0]


def test_shares_are_spread_over_bins_by_time():
    """What lasts half of a bin is half of it; nothing is known before the first row."""
    share = binned(
        np.array([10, 20, 40]), np.array([9.0, 1.0, 0.25]), np.array([0, 15, 20, 30, 60])
    )
    assert share.tolist() == pytest.approx([5 / 15, 1, 0.25, 2.5 / 30])


def test_a_process_is_known_from_its_start():
    """Also before its first sample; what it did not use it slept."""
    columns = {name: np.array([0]) for name in PROCESS_COLUMNS}
    columns |= {"t_ns": np.array([30]), "utime_ns": np.array([5]), "io_ns": np.array([10])}
    life = Life(100, "a", 10, None, None, None)
    row = shares_of(life, columns, np.array([0, 10, 30, 40]))
    told = dict(zip([kind.label for kind in KINDS], row[1].tolist(), strict=True))
    assert told["its program"] == pytest.approx(0.25)
    assert told["waits for I/O"] == pytest.approx(0.5)
    assert told["sleeps"] == pytest.approx(0.25)
    assert not row[[0, 2]].any()


def test_kswapd_reclaims_in_its_rounds():
    """And sleeps before, between and after them."""
    rounds = {"nid": np.array([1, 1]), "start_ns": np.array([10, 30]), "end_ns": np.array([20, 32])}
    rows = kswapd_rows(rounds, 40, np.array([0, 10, 20, 30, 40]))
    assert list(rows) == ["kswapd1"]
    assert rows["kswapd1"][:, RECLAIM].tolist() == pytest.approx([0, 1, 0, 0.2])
    assert rows["kswapd1"].sum(axis=1).tolist() == pytest.approx([1, 1, 1, 1])
