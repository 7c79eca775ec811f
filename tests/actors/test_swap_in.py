"""Faults on swap that wait for a disk."""

import numpy as np

from kernelsim.mm.mem import PG_locked
from tests.small_machine import run, small_machine


def test_whoever_finds_a_page_being_read_can_sleep_until_it_has_come():
    """From the step on that locks a page in the swap cache, there is a queue to wait in for it.

    On a rotating disk a window brings other processes' pages too. Between the lock and the request
    the reader computes; who finds the page then would try again and again, and use up a CPU.
    """
    unheard_of = []

    async def hog(process):
        region = await process.mmap("4M")
        for _ in range(2):
            await process.touch(region, write=True)

    async def main(machine):
        kernel, clock = machine.kernel, machine.engine.clock

        def look(_is_time):
            locked = np.flatnonzero(kernel.mem.pages.flags & np.uint32(PG_locked))
            slots = kernel.mem.pages.private[locked].tolist()
            unheard_of.extend(slot for slot in slots if slot not in kernel.swap_reads)
            clock.set_tick(None, clock.number + 1)

        clock.on_tick = look
        clock.set_tick(None, clock.number + 1)
        for process in [await machine.spawn(name, hog) for name in ("a", "b", "c")]:
            assert await process.wait() == 0

    spec = small_machine(cpus=("0-1",), memory="8M", swap="64M", disk={"rotational": True})
    done = run(spec, main)
    assert done.vm_events["pswpin"]
    assert unheard_of == []
