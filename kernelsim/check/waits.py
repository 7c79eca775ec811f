"""Check that each task that waits in a machine can still be woken.

An asker is owed an answer by a living actor that is at work on it; a CPU that has tasks in its
queue runs one; who was told to wake up does; who waits for a page to be read, for kswapd, or for
a process to end, waits for something that is under way.
Interface: `check_waits` between two events. Waits of the workload's own actors are judged only by
whom they wait for.
"""

from collections import Counter
from collections.abc import Iterator

import numpy as np

from kernelsim.actors.core.kernel import Kernel
from kernelsim.mm.core.mem import PG_locked
from kernelsim.mm.core.xarray import xa_load
from kernelsim.mm.file.address_space import SWAP_SPACE, space_and_index
from kernelsim.mm.reclaim.throttle_reason import PFMEMALLOC_WAIT
from kernelsim.sim.actor import Actor
from kernelsim.sim.locks import WaitQueue
from kernelsim.sim.wait import Seat

READ_QUEUES = ("swap slot ", "file page ")
EXIT_QUEUE = "exit of "


def check_waits(kernel: Kernel) -> list[str]:
    """Return which tasks wait for what will never come, one line each."""
    return [
        *check_answers(kernel),
        *check_owed(kernel),
        *check_queues(kernel),
        *check_kswapds(kernel),
        *check_reads(kernel),
    ]


def is_waiting(seat: Seat) -> bool:
    """Tell whether a task waits and it is not decided yet how that ends."""
    return seat.waiter.is_parked and not seat.waiter.is_decided


def is_idle(actor: Actor) -> bool:
    """Tell whether an actor has done all it was asked and waits for its next message, or work."""
    if not hasattr(actor, "seat"):  # the machine has not been started
        return False
    why = actor.seat.waiter.why
    if not is_waiting(actor.seat):
        return False
    queue = getattr(why, "queue", None)
    if isinstance(queue, WaitQueue):
        return queue.is_for_work
    return isinstance(why, tuple) and why[0] == "message on"


def check_answers(kernel: Kernel) -> Iterator[str]:
    """Find askers whose actor has ended, or knows nothing of the question."""
    actors = kernel.engine.actors
    askers: Counter[str] = Counter()
    for seat in kernel.engine.clock.seats:
        why = seat.waiter.why
        if not is_waiting(seat) or not isinstance(why, tuple):
            continue
        if why[0] in ("answer of", "end of") and str(why[1]) not in actors:
            yield f"{seat.name} waits for the {why[0]} {why[1]}, which has ended"
        elif why[0] == "answer of":
            askers[str(why[1])] += 1
    for name, nr_askers in askers.items():
        owed = len(actors[name].promises)
        if nr_askers > owed:
            yield f"{nr_askers} actors wait for an answer of {name}, which owes {owed}"


def check_owed(kernel: Kernel) -> Iterator[str]:
    """Find actors of the machine that are idle and owe an answer."""
    for cpu in kernel.cpus:
        queued = len(cpu.state.run_queue)
        if cpu.state.current is None and queued:
            yield f"{cpu.name} is idle though {queued} tasks wait for it"
        if is_idle(cpu) and len(cpu.promises) != queued:
            yield f"{cpu.name} owes {len(cpu.promises)} tasks its time, {queued} are in its queue"
    for device in kernel.devices.values():
        if is_idle(device) and device.promises and not device.nr_in_flight:
            yield f"{device.name} has nothing under way and owes {len(device.promises)} answers"
    processes = [kernel.engine.actors[entry.ref.name] for entry in kernel.processes.values()]
    for node in filter(is_idle, kernel.nodes):
        locks = (*node.zone_locks.values(), node.lru_lock)
        queued = sum(int(kernel.burst.queued[lock.server.index]) for lock in locks)
        if len(node.promises) > queued:
            yield (
                f"{node.name} is idle and owes {len(node.promises)} answers, "
                f"{queued} wait for its locks"
            )
    for actor in (kernel.interconnect, *processes):
        if is_idle(actor) and actor.promises:
            yield f"{actor.name} is idle and owes {len(actor.promises)} answers"


def check_queues(kernel: Kernel) -> Iterator[str]:
    """Find sleepers in the queue of a read that is over, or of a process that is gone."""
    actors = kernel.engine.actors
    living = [process.exited for process in kernel.processes.values()]
    for seat in kernel.engine.clock.seats:
        queue = getattr(seat.waiter.why, "queue", None)
        if not isinstance(queue, WaitQueue) or not is_waiting(seat):
            continue
        if queue.name.startswith(READ_QUEUES):
            if not any(queue is reading for reading in kernel.page_reads.values()):
                yield f"{seat.name} waits for {queue.name}, which nobody reads"
        elif queue.name.startswith(EXIT_QUEUE) and not any(queue is exited for exited in living):
            leaving = actors.get(queue.name.removeprefix(EXIT_QUEUE))
            if leaving is None or not leaving.is_serving:  # off the table it still has to wake them
                yield f"{seat.name} waits for the {queue.name}, which has ended"


def check_kswapds(kernel: Kernel) -> Iterator[str]:
    """Find each kswapd that sleeps though it was woken, or though tasks wait for it."""
    for nid, state in enumerate(kernel.kswapd_states):
        name = f"kswapd{nid}"
        queue = kernel.throttle_queue(nid, PFMEMALLOC_WAIT)
        if queue.nr_waiting and state.asleep:
            yield f"{queue.nr_waiting} tasks wait for {name}, which sleeps"
        kswapd = kernel.engine.actors.get(name)
        if kswapd is not None and is_idle(kswapd) and not state.asleep:
            yield f"{name} sleeps though it was woken"


def check_reads(kernel: Kernel) -> Iterator[str]:
    """Find slots and pages of files being read that no locked page is to take."""
    for key in kernel.page_reads:
        space, index = space_and_index(key)
        if space == SWAP_SPACE:
            pfn, what = int(kernel.swap.cache_pfn[index]), f"slot {index}"
        else:
            pfn = int(xa_load(kernel.spaces.pool.xa, space, index))
            what = f"page {index} of file {space}"
        if pfn <= 0 or not kernel.mem.pages.flags[pfn] & np.uint32(PG_locked):
            yield f"{what} is being read, but no locked page takes it"
