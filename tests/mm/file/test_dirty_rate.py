"""The control loop of dirty pages: hand-worked values, and a second spelling of its formulas."""

from math import floor, trunc

from hypothesis import given
from hypothesis import strategies as st

from kernelsim.mm.file.backing_dev import INIT_BW, BdiWriteback, WbDomain
from kernelsim.mm.file.dirty_limits import DirtyLimits
from kernelsim.mm.file.dirty_rate import (
    MAX_PAUSE,
    DirtyThrottleControl,
    pos_ratio_polynom,
    update_dirty_limit,
    wb_max_pause,
    wb_min_pause,
    wb_position_ratio,
    wb_update_dirty_ratelimit,
    wb_update_write_bandwidth,
)

pages = st.integers(0, 1 << 22)


def control(
    dirty: int, *, thresh: int = 2000, bg: int = 1000, **other: int
) -> DirtyThrottleControl:
    """Return a look at dirty pages, all of them of the one device unless said otherwise."""
    return DirtyThrottleControl(
        limits=DirtyLimits(bg, thresh),
        dirty=dirty,
        wb_thresh=other.get("wb_thresh", thresh),
        wb_dirty=other.get("wb_dirty", dirty),
        hard_limit=max(thresh, other.get("limit", 0)),
    )


def test_polynomial_at_its_corners():
    """Twice as fast at freerun, unchanged at the setpoint, stopped at the limit."""
    assert [pos_ratio_polynom(1750, dirty, 2000) for dirty in (1500, 1750, 2000)] == [
        2033,  # 1024 + 1009: the divisor is made odd, 251, so that it is never 0
        1024,
        14,
    ]


@given(pages, st.integers(1, 1 << 22), st.integers(0, 1 << 23))
def test_polynomial_falls(setpoint, width, dirty):
    """More dirty pages never speed writers up, and the ratio stays within 0 and 2."""
    here = pos_ratio_polynom(setpoint, dirty, setpoint + width)
    assert 0 <= pos_ratio_polynom(setpoint, dirty + 1, setpoint + width) <= here <= 2048


def test_position_ratio_of_one_device_at_the_setpoint():
    """One device at the setpoint: 1024, but for the rounding of its own line."""
    ratio = wb_position_ratio(BdiWriteback("8:0"), control(1750))
    assert 1010 <= ratio <= 1024


def test_nothing_may_be_dirtied_at_the_limit():
    """At the hard limit the ratio is 0; a limit that is on its way down counts as the limit."""
    wb = BdiWriteback("8:0")
    assert wb_position_ratio(wb, control(2000)) == 0
    assert wb_position_ratio(wb, control(2000, limit=3000)) > 0


def test_a_device_with_few_dirty_pages_is_sped_up():
    """Below half of its share a device's writers are sped up, up to eight times."""
    wb = BdiWriteback("8:0")
    normal = wb_position_ratio(wb, control(1750, wb_thresh=1000, wb_dirty=500))
    fast = wb_position_ratio(wb, control(1750, wb_thresh=1000, wb_dirty=100))
    fastest = wb_position_ratio(wb, control(1750, wb_thresh=1000, wb_dirty=0))
    assert normal < fast < fastest
    assert 7 * normal < fastest


@given(pages, pages, st.integers(1, 1 << 22), pages, pages, st.integers(1, 1 << 20))
def test_position_ratio_as_drawn(dirty, bg, extra, wb_thresh, wb_dirty, bandwidth):
    """The ratio is the product of the three lines, computed here with fractions as drawn."""
    thresh = limit = bg + extra
    wb = BdiWriteback("8:0", avg_write_bandwidth=bandwidth)
    dtc = control(dirty, thresh=thresh, bg=bg, wb_thresh=wb_thresh, wb_dirty=wb_dirty)
    ratio = wb_position_ratio(wb, dtc)
    if dirty >= limit:
        assert ratio == 0
        return
    setpoint = ((thresh + bg) // 2 + limit) // 2
    expected = pos_ratio_polynom(setpoint, dirty, limit)
    share = max(min(wb_thresh, thresh), (limit - dirty) // 8)
    x = trunc(share * 65536 / (thresh | 1))
    span = floor((thresh - share + 8 * bandwidth) * x / 65536)
    point = floor(setpoint * x / 65536)
    end = point + span
    quarter = wb_dirty >= end - span // 4
    expected = expected // 4 if quarter else expected * (end - wb_dirty) // ((end - point) | 1)
    if wb_dirty < share // 2:
        low = wb_dirty <= share // 2 // 8
        expected = expected * 8 if low else expected * (share // 2) // wb_dirty
    assert ratio == expected


def test_bandwidth_is_an_average_of_about_three_seconds():
    """200 ms at half of the rate: (1280 * 250 + 25600 * 974) / 1024, the smoothed one follows."""
    wb = BdiWriteback("8:0", nr_written=1280 * 50 // 50)
    wb_update_write_bandwidth(wb, 50)
    assert wb.write_bandwidth == (1280 * 250 + INIT_BW * 974) // 1024
    assert wb.avg_write_bandwidth == INIT_BW  # falls only when it was above for two estimates
    wb.written_stamp = wb.nr_written
    wb_update_write_bandwidth(wb, 50)
    assert wb.avg_write_bandwidth < INIT_BW


def test_bandwidth_after_a_long_pause_is_what_was_measured():
    """An interval of more than the averaging period replaces what was known; at least 1."""
    wb = BdiWriteback("8:0", nr_written=10_000)
    wb_update_write_bandwidth(wb, 2500)
    assert (wb.write_bandwidth, wb.avg_write_bandwidth) == (1000, 1000)
    wb.written_stamp = 20_000  # pages were made dirty again: no less than nothing was written
    wb_update_write_bandwidth(wb, 2500)
    assert (wb.write_bandwidth, wb.avg_write_bandwidth) == (0, 1)


def test_rate_limit_nears_bandwidth_over_writers():
    """Four tasks, too many dirty pages: the limit falls to a quarter of the bandwidth."""
    wb = BdiWriteback("8:0")
    dtc = control(1900)
    for _ in range(200):
        wb.dirtied_stamp = wb.nr_dirtied
        wb.nr_dirtied += 4 * (wb.dirty_ratelimit * 500 >> 10) // 5
        wb_update_dirty_ratelimit(wb, dtc, 500, 50)
    assert 6000 <= wb.dirty_ratelimit <= 7500


def test_rate_limit_moves_only_if_both_inputs_agree():
    """Too fast, but too few pages dirty: the limit stays."""
    wb = BdiWriteback("8:0", nr_dirtied=INIT_BW)
    wb_update_dirty_ratelimit(wb, control(1500), 2048, 50)
    assert wb.dirty_ratelimit == INIT_BW


def test_the_hard_limit_follows_slowly_down_and_at_once_up():
    """Down by a 32nd of the way every 200 ms, never below what is dirty; up in one step."""
    dom = WbDomain(dirty_limit=3280)
    update_dirty_limit(dom, control(100), 50)
    assert dom.dirty_limit == 3240
    update_dirty_limit(dom, control(100), 60)
    assert dom.dirty_limit == 3240
    update_dirty_limit(dom, control(3241), 100)
    assert dom.dirty_limit == 3240
    update_dirty_limit(dom, control(100, thresh=5000), 150)
    assert dom.dirty_limit == 5000


def test_pauses_of_one_writer():
    """One writer at 100 MB/s: 10 ms are 3 ticks, worth 300 pages at 25600 a second."""
    wb = BdiWriteback("8:0")
    assert wb_max_pause(wb, 1 << 20) == MAX_PAUSE
    assert wb_max_pause(wb, 800) == 1
    assert wb_min_pause(wb, MAX_PAUSE, INIT_BW) == (2, 200)


def test_a_slow_task_pauses_long():
    """At 100 pages a second a pause is as long as allowed, for as many pages as that is worth."""
    wb = BdiWriteback("8:0", dirty_ratelimit=100, avg_write_bandwidth=100)
    assert wb_min_pause(wb, MAX_PAUSE, 100) == (50, 19)


@given(st.integers(1, 1 << 20), st.integers(1, 1 << 20), pages, st.integers(0, 8192))
def test_pauses_stay_within_bounds(bandwidth, ratelimit, wb_dirty, pos_ratio):
    """Whatever the rates, a pause is 1 to 50 ticks and the next look is not far away."""
    wb = BdiWriteback("8:0", avg_write_bandwidth=bandwidth, dirty_ratelimit=ratelimit)
    longest = wb_max_pause(wb, wb_dirty)
    task_ratelimit = ratelimit * pos_ratio >> 10
    shortest, nr_pages = wb_min_pause(wb, longest, task_ratelimit)
    assert 1 <= longest <= MAX_PAUSE
    assert 0 <= shortest <= max(longest, 1 + longest // 2)
    assert 0 <= nr_pages <= max(ratelimit, task_ratelimit)
