"""Each way to wait for nothing, planted in a running machine, is reported by a run with --check."""

from collections.abc import Callable
from typing import Any

import pytest

from kernelsim.errors import InvariantViolation
from kernelsim.mm.reclaim.throttle_reason import PFMEMALLOC_WAIT
from kernelsim.report.machine_run import run_machine
from kernelsim.report.run_options import RunOptions
from kernelsim.sim.actor import Actor
from kernelsim.sim.reply import Reply
from kernelsim.workload.api import Workload
from tests.small_machine import OpenMachine, opened, small_machine

pytestmark = pytest.mark.mission("B3")


class Sleeper(Actor):
    """Waits in a queue."""

    def __init__(self, queue: Any) -> None:
        super().__init__("sleeper")
        self.queue = queue

    async def run(self) -> None:
        """Sleep until woken."""
        await self.queue.wait()


def forget_the_asker(machine: OpenMachine, user: Any) -> None:
    """Let a process lose whom it owes an answer."""
    user.promises.clear()


class Asker(Actor):
    """Waits for the answer of an actor that is not there."""

    async def run(self) -> None:
        """Wait as `ActorRef.ask` does."""
        clock = self.engine.clock
        await clock.wait(clock.open_wait(("answer of", "ghost")))


def ask_a_ghost(machine: OpenMachine, user: Any) -> None:
    """Let somebody wait for an actor that has ended."""
    machine.engine.spawn(Asker("asker"))


def forget_the_queue(machine: OpenMachine, user: Any) -> None:
    """Let a CPU lose the task that waits for it."""
    assert machine.kernel.cpus[0].state.run_queue
    machine.kernel.cpus[0].state.run_queue.clear()


def idle_with_a_queue(machine: OpenMachine, user: Any) -> None:
    """Let a CPU forget that it runs a task, though others wait."""
    machine.kernel.cpus[0].state.current = None


def owe(name: str) -> Callable[[OpenMachine, Any], None]:
    """Make an actor of the machine put off an answer for good."""

    def owe_an_answer(machine: OpenMachine, user: Any) -> None:
        actor = machine.engine.actors[name]
        Reply(actor, user.seat.waiter)

    owe_an_answer.__name__ = f"{name}_owes_an_answer"
    return owe_an_answer


def lose_a_wake_up(machine: OpenMachine, user: Any) -> None:
    """Note that kswapd was woken without telling it."""
    assert machine.kernel.kswapd_states[0].asleep
    machine.kernel.kswapd_states[0].asleep = False


def sleep_in(queue: Callable[[OpenMachine, Any], Any]) -> Callable[[OpenMachine, Any], None]:
    """Let an actor sleep in a queue that nobody will wake."""

    def sleep(machine: OpenMachine, user: Any) -> None:
        machine.engine.spawn(Sleeper(queue(machine, user)))

    return sleep


def read_into_nothing(machine: OpenMachine, user: Any) -> None:
    """Wait for a slot to be read without a page to take it."""
    machine.kernel.page_reads[5] = machine.engine.wait_queue("swap slot 5")


CASES = {
    "asker forgotten": (forget_the_asker, "1 actors wait for an answer of user-100, which owes 0"),
    "actor gone": (ask_a_ghost, "asker waits for the answer of ghost, which has ended"),
    "run queue lost": (forget_the_queue, "cpu0 owes 1 tasks its time, 0 are in its queue"),
    "idle CPU": (idle_with_a_queue, "cpu0 is idle though 1 tasks wait for it"),
    "disk": (owe("vda"), "vda has nothing under way and owes 1 answers"),
    "node": (owe("node0"), "node0 is idle and owes 1 answers"),
    "lost wake-up": (lose_a_wake_up, "kswapd0 sleeps though it was woken"),
    "kswapd sleeps": (
        sleep_in(lambda machine, _: machine.kernel.throttle_queue(0, PFMEMALLOC_WAIT)),
        "1 tasks wait for kswapd0, which sleeps",
    ),
    "read into nothing": (read_into_nothing, "slot 5 is being read, but no locked page takes it"),
    "read is over": (
        sleep_in(lambda machine, _: machine.engine.wait_queue("swap slot 7")),
        "sleeper waits for swap slot 7, which nobody reads",
    ),
    "process is gone": (
        sleep_in(lambda machine, _: machine.engine.wait_queue("exit of nobody-1")),
        "sleeper waits for the exit of nobody-1, which has ended",
    ),
}


async def spin(process: Any) -> None:
    """Use a CPU for a long time."""
    area = await process.mmap("1M")
    await process.touch(area, write=True, passes=10**6)


@pytest.mark.parametrize("name", CASES)
def test_who_waits_for_nothing_is_named(name: str):
    """The run ends at the next look, with who waits and for whom, before the workload does."""
    plant, text = CASES[name]
    is_over = []

    async def main(machine: OpenMachine) -> None:
        user = await machine.spawn("user", spin)
        await machine.spawn("other", spin)
        await machine.sleep("9500us")  # in the middle of a time slice
        plant(machine, machine.engine.actors[user._process.ref.name])
        await machine.sleep("5ms")
        is_over.append(True)

    spec = small_machine(memory="16M", swap="16M")
    options = RunOptions(machine=spec, check=True, check_every=500)
    with pytest.raises(InvariantViolation) as caught:
        run_machine(Workload(opened(main), "machine"), options, name="w.py")
    assert text in str(caught.value)
    assert not is_over


class Killer(Actor):
    """Kills a process after a while."""

    def __init__(self, victim: Any) -> None:
        super().__init__("killer")
        self.victim = victim

    async def run(self) -> None:
        """Let it fall asleep first."""
        await self.engine.sleep(1_000_000)
        await self.victim.kill()


@pytest.mark.parametrize("schedule_seed", [None, 1, 2])
def test_who_waits_for_a_process_that_is_leaving_its_cpu_is_no_fault(schedule_seed: int | None):
    """It is off the list of processes already, and wakes those who wait a moment later."""

    async def nap(process: Any) -> None:
        await process.sleep("1s")

    async def main(machine: OpenMachine) -> int:
        victim = await machine.spawn("victim", nap)
        machine.engine.spawn(Killer(victim))
        return int(await victim.wait())

    options = RunOptions(
        machine=small_machine(memory="16M"), check=True, check_every=1, schedule_seed=schedule_seed
    )
    assert run_machine(Workload(opened(main), "machine"), options, name="w.py").result == -9
