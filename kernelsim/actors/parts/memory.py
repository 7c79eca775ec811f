"""What a node's actor works with that is the whole machine's, as far as it needs to know it.

Interface: `Memory`, which the machine's state fits (core/kernel.py).
"""

from collections.abc import Mapping
from typing import Protocol

from kernelsim.actors.parts.observer import Observer
from kernelsim.actors.parts.page_read import PageRead
from kernelsim.fs.inode import Inode
from kernelsim.mm.burst.columns import Burst
from kernelsim.mm.core.mem import I64_2D, Mem
from kernelsim.mm.file.address_space import AddressSpaces
from kernelsim.mm.reclaim.throttle_reason import ThrottleReason
from kernelsim.mm.space.page_table_pool import Space
from kernelsim.mm.swap.swap_area import SwapArea
from kernelsim.sim.locks import WaitQueue


class RequestPool(Protocol):
    """Who waits for what requests have, when there is no memory."""

    def end_request(self) -> None:
        """Let them look again: a request has given its own back."""
        ...


class Memory(Protocol):
    """What a node works with that is the whole machine's."""

    @property
    def mem(self) -> Mem:
        """Physical memory; a node writes the rows of its zones."""
        ...

    @property
    def space(self) -> Space:
        """Page tables, for the references of pages that are looked at."""
        ...

    @property
    def swap(self) -> SwapArea:
        """Swap slots."""
        ...

    @property
    def lruvec(self) -> I64_2D:
        """What reclaim remembers of each node, shape [nid, LV_*]."""
        ...

    @property
    def page_reads(self) -> dict[int, PageRead]:
        """Pages being read, by space and index, with the queue of the tasks that wait."""
        ...

    @property
    def swap_writes(self) -> dict[int, WaitQueue]:
        """Pages whose writing to swap tasks wait for, with their queue."""
        ...

    @property
    def bio_pool(self) -> RequestPool:
        """What hears that a request to swap has ended."""
        ...

    @property
    def spaces(self) -> AddressSpaces:
        """Cached pages of files."""
        ...

    @property
    def observer(self) -> Observer:
        """What listens to what becomes of pages."""
        ...

    def written(self, inode: Inode, nr_pages: int, *, is_last: bool) -> None:
        """Note that pages of a file have been written; the last ones of it that were to be."""
        ...

    @property
    def burst(self) -> Burst:
        """What the CPUs do in compiled code, and when each lock is free."""
        ...

    @property
    def cpu_numbers(self) -> Mapping[str, int]:
        """Numbers of the CPUs by name."""
        ...

    def placed(self, nr_pages: int) -> int:
        """Note that granted pages came into use."""
        ...

    def taken(self, nr_pages: int) -> int:
        """Note that pages went out of use."""
        ...

    def memory_changed(self, zone: int) -> None:
        """Have all follow that is derived from the memory of zones, after that of one changed."""
        ...

    def printk_ratelimited(self, place: str, line: str) -> None:
        """Print a line to the kernel log, of a place that may have too many."""
        ...

    def throttle_queue(self, nid: int, reason: ThrottleReason) -> WaitQueue:
        """Return where tasks throttled on a node for a reason sleep."""
        ...
