"""What a node does for swap: pages enter the cache, and disks are done with them.

Linux: mm/swap_state.c, mm/page_io.c, 6.1.
Interface: `NodeSwap`, part of a node's actor, which calls it under the lock that each step needs.
Units: pages, slots.
"""

from typing import Protocol

import numpy as np

from kernelsim.actors.messages.node import BeginSwapRead, EndSwapRead, EndSwapWrite
from kernelsim.actors.parts.memory import Memory
from kernelsim.actors.parts.observer import Observer
from kernelsim.actors.parts.page_read import PageRead
from kernelsim.actors.tracing import Speaker, trace
from kernelsim.mm.core.mem import I64
from kernelsim.mm.reclaim.throttle_reason import WRITEBACK
from kernelsim.mm.reclaim.vmscan_throttle import wakes_writeback_throttled
from kernelsim.mm.swap.page_io import (
    end_swap_read,
    end_swap_write,
    fail_swap_read,
    fail_swap_write,
)
from kernelsim.mm.swap.swap_readahead import missing_slots
from kernelsim.mm.swap.swap_state import begin_swap_read
from kernelsim.sim.engine import Engine
from kernelsim.trace.ks import ks_swapin


class Running(Protocol):
    """An actor that runs."""

    @property
    def engine(self) -> Engine:
        """Its run."""
        ...


class NodeSwap:
    """The swap side of one node.

    Args:
        owner: The node's actor.
        nid: Node number.
        memory: What it works with.
    """

    def __init__(self, owner: Running, nid: int, memory: Memory) -> None:
        self._owner = owner
        self._nid = nid
        self._memory = memory
        self._mem = memory.mem

    def begin_read(self, message: BeginSwapRead, observer: Observer) -> I64:
        """Enter pages in the swap cache, locked; return the slots that are to be read.

        From now on others find them, and sleep.
        """
        memory, target = self._memory, message.target
        begun = message.slots.copy()
        begun = begun[: missing_slots(memory.swap, begun, len(begun))]
        observer.reads(begun, message.pfns)
        begin_swap_read(
            self._mem, memory.swap, memory.lruvec, begun, message.pfns, len(begun), target,
            message.in_fault,
        )  # fmt: skip
        memory.placed(len(begun))
        self.note_reads(begun, target, message.reader)
        return begun

    def note_reads(self, slots: I64, target: int, reader: str) -> None:
        """Let who comes to one of these slots know where to sleep, and for whose read."""
        queue = PageRead(self._owner.engine, f"swap slot {target}", reader)
        self._memory.page_reads.update(dict.fromkeys(slots.tolist(), queue))

    def end_read(self, message: EndSwapRead) -> None:
        """Fill the pages and wake the tasks that wait for them.

        A page that could not be read is unlocked without being up to date.

        Source: Linux 6.1 mm/page_io.c:end_swap_bio_read
        """
        memory, engine, slots = self._memory, self._owner.engine, message.slots.tolist()
        end_swap_read(self._mem, memory.swap, message.pfns, len(slots))
        if message.status:
            failed = message.pfns[list(message.failed)]
            fail_swap_read(self._mem, failed, len(failed))
            self._tell_failed("Read", message)
        queue = memory.page_reads[slots[0]]
        for slot in slots:
            del memory.page_reads[slot]
        queue.wake_all()
        memory.bio_pool.end_request()
        ahead = len(slots) - (message.target in slots)
        latency_ns = engine.now_ns - message.began_ns
        point = ks_swapin(message.device, message.target, len(slots), ahead, latency_ns)
        trace(Speaker(engine, message.comm), point)

    def end_write(self, message: EndSwapWrite) -> None:
        """Let written pages be freed; wake those throttled when enough was written.

        What could not be written is dirty again, and stays.

        Source: Linux 6.1 mm/page_io.c:end_swap_bio_write, mm/vmscan.c:__acct_reclaim_writeback
        """
        memory, pfns, tokens = self._memory, message.pfns, message.tokens
        queue = memory.throttle_queue(self._nid, WRITEBACK)
        is_throttled = queue.nr_waiting > 0
        if message.status:
            failed = list(message.failed)
            fail_swap_write(self._mem, memory.swap, pfns[failed], len(failed), is_throttled)
            memory.observer.written(pfns[failed])
            pfns, tokens = np.delete(pfns, failed), np.delete(tokens, failed)
            self._tell_failed("Write", message)
        memory.observer.written(pfns)
        end_swap_write(self._mem, memory.swap, pfns, tokens, len(pfns), is_throttled)
        for pfn in message.pfns.tolist() if memory.swap_writes else ():
            waiting = memory.swap_writes.pop(pfn, None)
            if waiting is not None:
                waiting.wake_all()
        if wakes_writeback_throttled(self._mem, memory.lruvec, self._nid):
            queue.wake_all()
        memory.bio_pool.end_request()

    def _tell_failed(self, direction: str, message: EndSwapRead | EndSwapWrite) -> None:
        for page in message.failed:
            where = message.place.behind(page)
            self._memory.printk_ratelimited(
                f"end_swap_bio_{direction.lower()}", f"{direction}-error on swap-device ({where})"
            )
