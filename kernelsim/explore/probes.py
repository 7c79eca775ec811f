"""Rare paths, and whether a campaign reached them.

A path nobody reaches is one that no run checks: the table of a campaign says which those are.
Interface: `PROBES`; `reached` names those that a run's counts show.
"""

from collections.abc import Iterator, Mapping
from typing import Final

import attrs


@attrs.frozen
class Probe:
    """One path.

    Attributes:
        name: What happens there.
        counts: Counters or events; one of them not 0 shows that it was taken.
    """

    name: str
    counts: tuple[str, ...]


PROBES: Final = (
    Probe("kswapd is woken", ("mm_vmscan_wakeup_kswapd",)),
    Probe("kswapd frees pages", ("pgsteal_kswapd",)),
    Probe("kswapd is soon below low again", ("kswapd_low_wmark_hit_quickly",)),
    Probe("kswapd falls below high while it lies down", ("kswapd_high_wmark_hit_quickly",)),
    Probe("direct reclaim", ("mm_vmscan_direct_reclaim_begin",)),
    Probe("direct reclaim frees pages", ("pgsteal_direct",)),
    Probe("direct reclaim waits for kswapd", ("pgscan_direct_throttle",)),
    Probe("reclaim is throttled", ("mm_vmscan_throttled",)),
    Probe("pages are activated", ("pgactivate",)),
    Probe("pages are deactivated", ("pgdeactivate",)),
    Probe("written pages are rotated", ("pgrotated",)),
    Probe("a page of the wrong zone is skipped", ("pgskip_dma", "pgskip_dma32", "pgskip_normal")),
    Probe("pages go to swap", ("pswpout",)),
    Probe("pages come from swap", ("pswpin",)),
    Probe("a page read ahead is used", ("swap_ra_hit",)),
    Probe("a refault", ("workingset_refault_anon",)),
    Probe("a refault activates", ("workingset_activate_anon",)),
    Probe("pages of files are reclaimed", ("pgsteal_file",)),
    Probe("a refault of a file", ("workingset_refault_file",)),
    Probe("a refault of a file activates", ("workingset_activate_file",)),
    Probe("pages of files are dirty", ("nr_dirtied",)),
    Probe("a writer pauses", ("balance_dirty_pages",)),
    Probe("a call fails with EIO", ("failed with EIO",)),
    Probe("a process dies of SIGBUS", ("ended by 7",)),
    Probe("a page of a mapped file is faulted in", ("file faults",)),
    Probe("pages around it are mapped with it", ("more is mapped than faulted on",)),
    Probe("such a fault waits and begins afresh", ("ks_fault_retry",)),
    Probe("a clean page of a shared mapping is stored to", ("wp_shared faults",)),
    Probe("a page is copied on write", ("wp faults",)),
    Probe("an access behind the end of a file", ("a fault fails: behind the end of its file",)),
    Probe("a mapped page that cannot be read", ("a fault fails: I/O error",)),
    Probe("a store to a mapping on a full disk", ("a fault fails: no space",)),
    Probe("a faulting process is killed", ("a fault fails: killed",)),
    Probe("a call fails with ENOSPC", ("failed with ENOSPC",)),
    Probe("memory is locked", ("unevictable_pgs_mlocked",)),
    Probe("locked memory is let go", ("unevictable_pgs_munlocked",)),
    Probe("a page let go is evictable again", ("unevictable_pgs_rescued",)),
    Probe("swap is full", ("swap is full",)),
    Probe("an allocation in ZONE_MOVABLE", ("pgalloc_movable",)),
    Probe("an allocation from another node", ("numa_miss",)),
    Probe("pages are interleaved", ("numa_interleave",)),
    Probe("pages are moved", ("pgmigrate_success",)),
    Probe("pages cannot be moved", ("pgmigrate_fail",)),
    Probe("a task reclaims from its node first", ("mm_vmscan_node_reclaim_begin",)),
    Probe("and finds nothing", ("zone_reclaim_failed",)),
    Probe("a lock is waited for", ("ks_lock_wait",)),
    Probe("a zone crosses a mark", ("ks_watermark",)),
    Probe("the kernel gets a block of several pages", ("blocks of the kernel",)),
    Probe("it gets none", ("a block of the kernel fails",)),
    Probe("a packet finds no page", ("packets are dropped",)),
    Probe("the OOM killer kills", ("oom_kill",)),
    Probe("the OOM killer counts on one that dies", ("a victim that dies anyway",)),
    Probe("the kernel panics", ("panic",)),
    Probe("the power fails", ("power cut",)),
    Probe("it leaves what fsync acknowledged", ("pages that fsync had acknowledged",)),
    Probe("a process dies of SIGSEGV", ("ended by 11",)),
    Probe("a process is killed", ("ended by 9",)),
    Probe("a call fails with ENOMEM", ("failed with ENOMEM",)),
)


def reached(counts: Mapping[str, int]) -> Iterator[str]:
    """Name the probes that the counts of a run show."""
    for probe in PROBES:
        if any(counts.get(name) for name in probe.counts):
            yield probe.name
