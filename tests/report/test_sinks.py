"""Tests of the sinks that keep events in memory."""

from kernelsim.report.event_filter import EventFilter
from kernelsim.report.sinks import RingSink, TeeSink, event_text
from kernelsim.trace.kmem import mm_page_free
from tests.memory_sink import MemorySink


def emit_pages(sink, t_ns):
    """Emit three events of single pages."""
    for pfn in range(3):
        sink.emit(t_ns, "node0", "mm_page_free", mm_page_free(pfn=pfn, order=0))


def test_ring_keeps_the_last():
    """The ring forgets the oldest events and renders the rest for people."""
    sink = RingSink(2, EventFilter(trace=("*",)))
    assert sink.lines() == []
    for number in range(4):
        sink.emit(number, "cpu0", "ks_x", {"number": number})
    assert sink.lines() == [
        "    0.000000002  cpu0             ks_x number=2",
        "    0.000000003  cpu0             ks_x number=3",
    ]
    emit_pages(sink, 1_500_000_000)
    assert sink.lines() == [
        "    1.500000000  node0            mm_page_free pfn=0x1 order=0",
        "    1.500000000  node0            mm_page_free pfn=0x2 order=0",
    ]


def test_ring_drops_what_is_not_wanted():
    """Without being asked, the ring holds no single pages."""
    sink = RingSink(2)
    emit_pages(sink, 1)
    assert not sink.wants("node0", "mm_page_free")
    assert sink.lines() == []


def test_tee_gives_each_what_it_wants():
    """Each sink applies its own filter; the tee wants what any wants."""
    all_pages, batches = MemorySink(EventFilter(trace=("*",))), MemorySink()
    tee = TeeSink((all_pages, batches))
    emit_pages(tee, 1)
    tee.emit(2, "cpu0", "ks_x", {})
    tee.flush()
    assert (len(all_pages.events), len(batches.events)) == (4, 1)
    assert tee.wants("cpu0", "mm_page_free")
    assert not TeeSink((batches,)).wants("cpu0", "mm_page_free")


def test_text_of_an_event():
    """Plain words stay as they are; other text is quoted, so a line can be taken apart again."""
    fields = {"a": -1, "b": True, "c": "word:0", "d": "two words", "e": "", "f": 'x="y"', "g": None}
    assert event_text(61_000_000_005, "db-101", "ks_x", fields) == (
        "   61.000000005  db-101           ks_x"
        ' a=-1 b=true c=word:0 d="two words" e="" f="x=\\"y\\"" g=null'
    )


def test_text_of_numbers_with_names():
    """What the kernel prints by name is shown so; numbers of other events stay numbers."""
    fields = {"order": 0, "gfp_flags": 0x100DCA}
    assert event_text(0, "hog-100", "mm_vmscan_direct_reclaim_begin", fields).endswith(
        " order=0 gfp_flags=GFP_HIGHUSER_MOVABLE|__GFP_ZERO"
    )
    flush = {"reason": 2, "pages": (1 << 64) - 1}
    assert event_text(0, "cpu0", "tlb_flush", flush).endswith(' reason="local shootdown" pages=-1')
    assert event_text(0, "cpu0", "ks_x", fields).endswith(" order=0 gfp_flags=1052106")
