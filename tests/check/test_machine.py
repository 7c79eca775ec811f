"""Tests of the check of a whole machine: silent on a sound one, and it finds what is broken."""

from collections.abc import Callable

import pytest

from kernelsim.check.machine import check_machine, require_sound
from kernelsim.check.record import observe
from kernelsim.config.from_proc import machine_from_proc
from kernelsim.config.machine_file import load_machine
from kernelsim.errors import InvariantViolation
from kernelsim.mm.core.mem import MIGRATE_MOVABLE, Z_FREE
from kernelsim.mm.core.vmstat import NR_ANON_PAGES
from kernelsim.mm.page.page_alloc import rmqueue
from tests.small_machine import OpenMachine


async def swap_storm(machine: OpenMachine) -> None:
    """Use more memory than there is, from two processes, then give all of it back."""
    first = await machine.spawn("first")
    second = await machine.spawn("second")
    small = await second.mmap("8M")
    await second.touch(small, write=True)
    big = await first.mmap("46M")
    await first.touch(big, write=True)
    await second.touch(small, write=True)
    await second.touch(small)
    await first.munmap(big)
    await first.exit()
    await second.exit()


def run_checked(machine: OpenMachine, main: Callable, every: int) -> int:
    """Run a workload and check the machine each so many events; return how often it was."""
    checks = 0

    def look(_is_time: bool) -> None:
        nonlocal checks
        checks += 1
        require_sound(machine.kernel)
        machine.engine.clock.set_tick(None, machine.engine.clock.number + every)

    def boot(machine: OpenMachine) -> None:
        observe(machine.kernel)
        machine.engine.clock.on_tick = look
        machine.engine.clock.set_tick(None, every)

    machine.machine.on_boot = boot
    machine.run(main)
    return checks


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "burst_pages"), [(1, 512), (2, 64)])
def test_all_invariants_hold_in_a_swap_storm(seed: int, burst_pages: int):
    """Faults, reclaim, swap and exit break nothing at any look, and no page is left in a hand."""
    machine = OpenMachine(
        load_machine("tiny-64m"), seed=seed, schedule_seed=seed, burst_pages=burst_pages
    )
    assert run_checked(machine, swap_storm, 499) > 3
    assert machine.kernel.nr_in_flight == 0


def test_a_recorded_machine_is_sound_at_boot():
    """Counters a recorded machine had before any process ran are taken into account."""
    case = "tests/oracle/cases/s01/before"
    assert check_machine(OpenMachine(machine_from_proc(case)).kernel) == []


def lose_a_page(machine: OpenMachine) -> None:
    """Take a page from a zone and forget it."""
    assert rmqueue(machine.mem, 0, 0, MIGRATE_MOVABLE)


def miscount_free(machine: OpenMachine) -> None:
    """Count a free page too many."""
    machine.mem.zone[0, Z_FREE] += 1


def miscount_anon(machine: OpenMachine) -> None:
    """Count an anonymous page too many."""
    machine.mem.node_stat[0, NR_ANON_PAGES] += 1


def say_too_little(machine: OpenMachine) -> None:
    """Forget to say that a page came into use."""
    machine.kernel.taken(1)


def forget_a_task(machine: OpenMachine) -> None:
    """Leave a task in the queue of an idle CPU."""
    machine.kernel.cpus[0].state.run_queue.append(("nobody", None, 0))  # type: ignore[arg-type]


def free_twice(machine: OpenMachine) -> None:
    """Use a slot twice in the swap map."""
    machine.kernel.swap.map[5] = 1


MISTAKES = {
    lose_a_page: "1 pages are in no place, not 0",
    miscount_free: "pages are free, counted",
    miscount_anon: "nr_anon_pages",
    say_too_little: "0 pages are in no place, not 1",
    forget_a_task: "idle though 1 tasks",
    free_twice: "slot 5",
}


@pytest.mark.parametrize("break_it", MISTAKES, ids=lambda function: function.__name__)
def test_each_mistake_is_found(break_it: Callable[[OpenMachine], None]):
    """A machine broken in one way is reported in those words, with time, event and seeds."""
    machine = OpenMachine(load_machine("tiny-64m"), seed=7)

    async def main(machine: OpenMachine) -> None:
        process = await machine.spawn("user")
        area = await process.mmap("1M")
        await process.touch(area, write=True)
        await machine.sleep("1s")
        require_sound(machine.kernel)
        break_it(machine)
        require_sound(machine.kernel)

    with pytest.raises(InvariantViolation, match=MISTAKES[break_it]) as caught:
        machine.run(main)
    assert "seed 7" in str(caught.value)
    assert f"at {machine.now_ns} ns" in str(caught.value)
