"""State what each step of the simulated hardware and kernel costs in virtual time.

Differs: Costs of hardware and kernel are typical figures of a server of about 2020, not measured on
the machine; a machine file may set any of them.
Interface: `LatencySpec` is a value; unit in every name. Nothing here knows about memory state.
Units: nanoseconds (`_ns`), bytes per second (`_bytes_per_s`).
"""

from __future__ import annotations

from typing import Any

import attrs

from kernelsim.errors import ConfigError
from kernelsim.units import GIB, NS_PER_S

__all__ = ["LatencySpec"]


def _cost(default: int, doc: str, *, minimum: int = 0) -> Any:  # noqa: ANN401 (an attrs field)
    """Return an integer field with its range check; `doc` says what it is and where it is from."""

    def check(_: object, attribute: attrs.Attribute[int], value: object) -> None:
        if type(value) is not int or value < minimum:
            rule = f"must be a whole number, {minimum} or more"
            raise ConfigError(attribute.name, value, rule)

    return attrs.field(default=default, validator=check, metadata={"doc": doc, "minimum": minimum})


@attrs.frozen(kw_only=True)
class LatencySpec:
    """Costs of hardware steps and kernel paths, all integers in the unit of their name.

    Raises ConfigError for a cost below its minimum.
    """

    cpu_frequency_hz: int = _cost(
        2_500_000_000,
        "core clock that /proc/cpuinfo shows, and nothing else: all costs are in ns",
        minimum=1,
    )
    tlb_hit_ns: int = _cost(
        1, "translation found in the TLB; L1 dTLB hit is hidden in the 4-5 cycle load (Agner Fog)"
    )
    page_walk_step_ns: int = _cost(
        20, "one level of a page walk, an L2 or L3 access on the average: 14-40 cycles (Skylake)"
    )
    memory_local_ns: int = _cost(
        90, "load from local DRAM, idle: 80-100 ns (Skylake-SP, EPYC 7002; Intel MLC)", minimum=1
    )
    cache_miss_ns: int = _cost(
        26,
        "part of memory_local_ns: the caches are looked up in vain, 65 cycles to the answer of the "
        "last level (Skylake-SP: 50-70; Intel MLC)",
    )
    bus_crossing_ns: int = _cost(
        10,
        "part of memory_local_ns, twice: address or data on the way between CPU and controller, "
        "a bus or the mesh of the chip; 10 hops of a cycle at 2 GHz, and queues in and out",
    )
    memory_controller_ns: int = _cost(
        14,
        "part of memory_local_ns: a request is decoded and scheduled. The rest of it is DRAM: "
        "30 ns, a row opened and a column read at DDR4-2666 CL19, 14.25 ns each (JESD79-4)",
    )
    memory_bandwidth_bytes_per_s: int = _cost(
        20 * GIB, "memory controller of one node, one DDR4-2666 channel: 21.3 GB/s", minimum=1
    )
    bus_bandwidth_bytes_per_s: int = _cost(
        0,
        "bus that the CPUs of a node share on the way to its memory; accesses, clearing, copies of "
        "whole pages (not those of read and write) and disks then queue for it and for the "
        "controller. 0: each CPU has a way of its own, and only clearing queues at the controller",
    )
    interconnect_bandwidth_bytes_per_s: int = _cost(
        19 * GIB, "one UPI link at 10.4 GT/s, one direction: 20.8 GB/s (Intel)", minimum=1
    )
    zone_lock_hold_page_ns: int = _cost(
        40, "zone->lock held to move one page between buddy and pcp list: 100 cycles, perf lock"
    )
    zone_lock_hold_ns: int = _cost(
        0,
        "zone->lock held besides, each time: the lines of lock, lists and counters come from the "
        "CPU that had it last; matters where many CPUs take it in turn",
    )
    lru_lock_hold_page_ns: int = _cost(
        30, "lru_lock held to isolate or put back one page; perf lock on will-it-scale"
    )
    page_zeroing_ns: int = _cost(
        200, "clear_page of 4 KiB with rep stosb at about 20 GB/s (clear_page_erms)"
    )
    page_copy_ns: int = _cost(400, "copy of a 4 KiB page: one read and one write stream")
    fault_entry_ns: int = _cost(
        250, "exception entry, VMA lookup and return of a minor fault; lmbench lat_pagefault"
    )
    pte_set_ns: int = _cost(10, "set one entry and account it: 25 cycles, page table in L1/L2")
    syscall_entry_ns: int = _cost(
        100, "entry and exit of a system call with mitigations; lmbench lat_syscall null"
    )
    context_switch_ns: int = _cost(1_500, "switch between two processes; lmbench lat_ctx 2p/0K")
    ipi_ns: int = _cost(
        1_000, "inter-processor interrupt until the target acknowledges; ipistorm 0.5-2 us"
    )
    ipi_send_ns: int = _cost(
        100, "queue a call for another CPU and interrupt it: a locked list, a write to the x2APIC"
    )
    tlb_flush_ns: int = _cost(200, "flush of a whole TLB: write to CR3, 400-600 cycles with PCID")
    tlb_flush_page_ns: int = _cost(100, "invlpg of one page: 120-250 cycles (Agner Fog)")
    scan_page_ns: int = _cost(
        60, "reclaim looks at one page (flags, rmap of one mapping): 5 cache misses, half overlap"
    )
    swap_slot_ns: int = _cost(
        100,
        "enter a page in the swap cache and in a request: with a new slot, or with its old one; "
        "estimate",
    )
    read_folio_ns: int = _cost(
        400,
        "enter a page of a file in the page cache, 0.3 us, and find its place on the disk, 0.1 "
        "(estimate, after the breakdown of a 4 KiB read in G. Lee et al., Asynchronous I/O Stack, "
        "USENIX ATC 2019)",
    )
    write_begin_ns: int = _cost(
        1_000,
        "find or make the page of a write, and account it dirty; estimate: a core that writes "
        "2.5 GB/s into the page cache has 1.6 us a page, of which copy and allocation take 0.6",
    )
    writepage_ns: int = _cost(
        400,
        "take one dirty page and put it in a request; estimate: a flusher that nothing holds "
        "back sends about 10 GB/s",
    )
    submit_bio_ns: int = _cost(
        1_400,
        "hand a request to a disk: bio 0.7 us, DMA mapping 0.3, doorbell 0.4 (estimate, after G. "
        "Lee et al., as above; NVMe)",
    )
    end_io_ns: int = _cost(
        1_000,
        "interrupt of a disk that is done: DMA unmapping 0.2 us, completion 0.8 (as above)",
    )
    seq_file_byte_ns: int = _cost(
        5, "a byte of the text of a file of /proc; estimate: /proc/vmstat, 4 KB, in 20 us"
    )
    tty_byte_ns: int = _cost(
        20, "a byte that is printed, through the line discipline of a terminal; estimate: 50 MB/s"
    )
    cache_line_ns: int = _cost(
        30,
        "one access of the kernel to a cache line, on the average: 5 ns in L2 (14 cycles), "
        "memory_local_ns of those that miss, three in ten",
        minimum=1,
    )
    cache_line_spread_permille: int = _cost(
        1_000,
        "its standard deviation over its mean, in 1/1000; 0 for none. The two times above differ "
        "by 85 ns, so it would be 1300; more than 1000 would make some accesses take no time",
    )
    timer_tick_ns: int = _cost(
        4_000_000, "period of the scheduler tick: CONFIG_HZ=250 as in Debian 12", minimum=1
    )
    time_slice_ns: int = _cost(
        3_000_000,
        "CPU time before the second of two tasks is due: half of sched_latency",
        minimum=1,
    )

    @property
    def has_bus(self) -> bool:
        """Whether the CPUs of a node share a bus, and what they access queues for it."""
        return self.bus_bandwidth_bytes_per_s > 0

    def passing_ns(self, size_bytes: int, *, is_near: bool) -> tuple[int, int]:
        """Return how long bytes take on the way to memory, and at its controller.

        Args:
            size_bytes: How many.
            is_near: They go over the bus of the node (`has_bus`), else over a link between nodes.
        """
        way_bytes_per_s = self.interconnect_bandwidth_bytes_per_s
        if is_near:
            way_bytes_per_s = self.bus_bandwidth_bytes_per_s
        whole = size_bytes * NS_PER_S
        return whole // way_bytes_per_s, whole // self.memory_bandwidth_bytes_per_s

    def memory_access_ns(self, distance: int) -> int:
        """Return the latency of one access at this SLIT distance (10 is local), rounded down.

        The distance table is by definition relative to 10, so remote = local * distance / 10.
        """
        return self.memory_local_ns * distance // 10
