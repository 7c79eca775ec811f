"""Tests of the choice of events."""

import pytest

from kernelsim.errors import ConfigError
from kernelsim.report.event_filter import EventFilter, event_matches


def wanted(words, *events, actor="kswapd0"):
    """Return which of the events a filter made of words keeps."""
    chosen = EventFilter.parse(words)
    return [event for event in events if chosen.wants(actor, event)]


def test_page_level_is_off_by_default():
    """Without words, batches and our own events are kept, single pages are not."""
    kept = wanted([], "ks_fault", "mm_vmscan_kswapd_wake", "mm_page_alloc", "ks_something")
    assert kept == ["ks_fault", "mm_vmscan_kswapd_wake", "ks_something"]


def test_plain_glob_turns_page_level_on():
    """A plain glob adds page-level tracepoints, by name or by subsystem, and takes nothing away."""
    events = ("ks_fault", "mm_page_alloc", "mm_page_free", "block_rq_issue", "page_fault_user")
    assert wanted(["mm_page_*"], *events) == ["ks_fault", "mm_page_alloc", "mm_page_free"]
    assert wanted(["kmem:*"], *events) == ["ks_fault", "mm_page_alloc", "mm_page_free"]


def test_event_glob_keeps_only_such():
    """`event=` keeps only what matches, page-level or not; the ends of the log always stay."""
    events = ("ks_run_start", "ks_fault", "mm_page_alloc", "mm_vmscan_kswapd_wake", "ks_run_end")
    kept = wanted(["event=mm_*"], *events)
    assert kept == ["ks_run_start", "mm_page_alloc", "mm_vmscan_kswapd_wake", "ks_run_end"]


def test_actor_glob_keeps_only_such():
    """`actor=` keeps only events of actors that match; several globs add up."""
    words = ["actor=kswapd*", "actor=cpu1"]
    assert wanted(words, "ks_fault", actor="kswapd1") == ["ks_fault"]
    assert wanted(words, "ks_fault", actor="cpu1") == ["ks_fault"]
    assert wanted(words, "ks_fault", "ks_run_end", actor="cpu2") == ["ks_run_end"]


def test_not_leaves_events_out():
    """`not=` counts more than what turns events on or keeps them; the ends stay."""
    events = ("ks_run_start", "ks_fault", "mm_page_alloc", "mm_vmscan_lru_isolate")
    assert wanted(["not=vmscan:*"], *events) == ["ks_run_start", "ks_fault"]
    assert wanted(["not=ks_*", "mm_page_*"], *events) == [events[0], *events[2:]]
    assert wanted(["event=ks_*", "not=ks_fault"], *events) == ["ks_run_start"]


@pytest.mark.parametrize(
    "word",
    ["not=", "not=vmscan:kswapd", "mm_pgae*", "event=", "actor=", "vmscan:kswapd", "events=mm_*"],
)
def test_glob_that_matches_nothing_is_refused(word):
    """A mistyped word is an error in one line, not an empty log."""
    with pytest.raises(ConfigError, match="matches no event") as caught:
        EventFilter.parse([word])
    assert "\n" not in str(caught.value)
    assert repr(word) in str(caught.value)


def test_names_match_case():
    """Globs tell upper from lower case on every system."""
    assert event_matches("mm_page_free", "mm_page_fre?")
    assert not event_matches("mm_page_free", "MM_*")
    assert not event_matches("no_such_event", "kmem:*")
