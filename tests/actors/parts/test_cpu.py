"""Tests of the CPU: who runs next, how long, and what an interrupt costs."""

import pytest

from kernelsim.actors.core.task import Task
from kernelsim.actors.parts.cpu import Cpu
from kernelsim.config.latency import LatencySpec
from kernelsim.mm.burst.columns import new_burst
from kernelsim.sched.psi import PsiGroup
from kernelsim.sim.actor import Actor
from kernelsim.sim.engine import Engine

COSTS = LatencySpec(
    context_switch_ns=100, time_slice_ns=1000, timer_tick_ns=200, ipi_ns=50, tlb_flush_ns=20
)
LATENCY_NS = 2 * COSTS.time_slice_ns  # the scheduler's period on one CPU


class Doing(Actor):
    """Runs an async function."""

    def __init__(self, name, body):
        super().__init__(name)
        self._body = body

    async def run(self):
        """Run it."""
        await self._body()


def on_cpus(count, scenario):
    """Run `scenario(engine, cpus, start)` to the end of all that it started.

    `start(name, body)` runs an async function beside the others.
    """
    engine = Engine()

    async def main(engine):
        burst = new_burst(nr_cpus=count, nr_nodes=1, nr_zones=1)
        psi = PsiGroup()
        cpus = [Cpu(number, 0, (10,), COSTS, burst, psi) for number in range(count)]
        for cpu in cpus:
            engine.spawn(cpu)
        refs = []
        await scenario(
            engine, cpus, lambda name, body: refs.append(engine.spawn(Doing(name, body)))
        )
        for ref in refs:
            await ref.join()

    engine.run(main)


def worker(engine, cpus, log, name, *, at_ns=0, work=(500,), wakeup=False):
    """Make a body that wants a CPU at a time, computes in steps and leaves."""
    task = Task(engine, name, 1, cpus)

    async def body():
        await engine.sleep(at_ns)
        await task.get_cpu(wakeup=wakeup)
        log.append((name, engine.now_ns))
        for step_ns in work:
            await task.compute(step_ns)
        await task.put_cpu()

    return body


def test_a_task_waits_until_the_other_leaves():
    """One that just came has no claim to the CPU before its turn; each switch costs."""
    log = []

    async def scenario(engine, cpus, start):
        for number, name in enumerate("ab"):
            start(name, worker(engine, cpus, log, name, at_ns=10 * number))

    on_cpus(1, scenario)
    assert log == [("a", 100), ("b", 700)]


def sleeper(engine, cpus, log, *, sleep_ns, work_ns):
    """Make a body that runs a little, sleeps, and runs again; logs when it ran and was back."""
    task = Task(engine, "s", 1, cpus)

    async def body():
        await task.get_cpu()
        await task.compute(work_ns)
        async with task.off_cpu():
            await engine.sleep(sleep_ns)
            log.append(engine.now_ns)
        log.append(engine.now_ns)
        await task.compute(work_ns)
        await task.put_cpu()

    return body


def hog(engine, cpus, *, at_ns, step_ns=50, steps=200):
    """Make a body that computes on and on from a time."""
    task = Task(engine, "h", 2, cpus)

    async def body():
        await engine.sleep(at_ns)
        await task.get_cpu()
        for _ in range(steps):
            await task.compute(step_ns)
        await task.put_cpu()

    return body


def back_after(sleep_ns, *, work_ns=10, hog_at_ns=1):
    """Return how long a task that slept beside a hog waited for the CPU."""
    log = []

    async def scenario(engine, cpus, start):
        start("s", sleeper(engine, cpus, log, sleep_ns=sleep_ns, work_ns=work_ns))
        start("h", hog(engine, cpus, at_ns=hog_at_ns))

    on_cpus(1, scenario)
    return log[1] - log[0]


def test_a_task_that_slept_long_preempts_at_the_next_boundary():
    """It is behind by more than the granularity, so the other need not use its share."""
    assert back_after(5 * LATENCY_NS) <= 50 + COSTS.context_switch_ns
    just_began_ns = 5 * LATENCY_NS
    assert back_after(5 * LATENCY_NS, hog_at_ns=just_began_ns) <= 50 + COSTS.context_switch_ns


def test_a_task_that_hardly_slept_waits_for_a_tick():
    """It is behind by less than the granularity, so the running one goes on to its share."""
    assert back_after(50, work_ns=2 * LATENCY_NS) > 50 + COSTS.context_switch_ns


def test_slices_rotate():
    """Two tasks that compute on and on take turns, until a tick behind half a period each."""
    turns = []

    async def scenario(engine, cpus, start):
        for name in "ab":
            task = Task(engine, name, 1, cpus)

            async def body(task=task):
                await task.get_cpu()
                for _ in range(8):
                    turns.append(task.name)
                    await task.compute(400)
                await task.put_cpu()

            start(name, body)

    on_cpus(1, scenario)
    text = "".join(turns)
    assert text.count("a") == text.count("b") == 8
    assert all(2 <= len(run) <= 4 for run in text.replace("ab", "a b").replace("ba", "b a").split())


def test_who_runs_alone_is_never_switched_out():
    """A slice that ends with an empty queue changes nothing."""

    async def scenario(engine, cpus, start):
        start("a", worker(engine, cpus, [], "a", work=(400,) * 20))
        await engine.sleep(20_000)
        assert cpus[0].state.nr_switches == 2  # from the idle task and back to it
        assert cpus[0].busy_total_ns() == 100 + 400 * 20
        assert cpus[0].state.wait_ns == 0

    on_cpus(1, scenario)


def test_handlers_follow_each_other_and_take_the_time_of_who_runs():
    """A running task is so much longer about its work; an idle CPU takes it from nobody."""

    async def scenario(engine, cpus, start):
        start("a", worker(engine, cpus, [], "a", work=(400, 400)))
        await engine.sleep(200)
        assert cpus[0].interrupt(30) == 230
        assert cpus[0].interrupt(30) == 260
        await engine.sleep(20_000)
        assert cpus[0].busy_total_ns() == 100 + 400 + 30 + 30 + 400
        assert cpus[0].interrupt(30) == engine.now_ns + 30
        start("b", worker(engine, cpus, [], "b"))
        await engine.sleep(20_000)
        assert cpus[0].busy_total_ns() == 100 + 860 + 100 + 500

    on_cpus(1, scenario)


def test_switches_are_counted_as_linux_does():
    """Each change of the running task is one, the idle task's too; of a task by their cause."""

    async def scenario(engine, cpus, start):
        task, other = Task(engine, "t", 1, cpus), Task(engine, "o", 2, cpus)

        async def body():
            await task.get_cpu()  # idle -> t
            async with task.off_cpu():  # t -> idle -> t
                await engine.sleep(50)
            await task.compute(10)
            await task.put_cpu()  # the program's next request comes at once: no switch
            await task.get_cpu(wakeup=True)
            assert (task.nvcsw, task.nivcsw, cpus[0].state.nr_switches) == (1, 0, 3)
            start("o", waiting)
            while not task.nivcsw:
                await task.compute(200)
            await task.put_cpu()

        async def waiting():
            await other.get_cpu()
            for _ in range(30):
                await other.compute(100)
            await other.put_cpu()

        start("t", body)
        await engine.sleep(50_000)
        assert (task.nvcsw, task.nivcsw) == (2, 1)
        assert other.nvcsw == 1
        left = task.nvcsw + task.nivcsw + other.nvcsw + other.nivcsw
        starts_from_idle = 2
        assert cpus[0].state.nr_switches == left + starts_from_idle

    on_cpus(1, scenario)


def test_idle_time_beside_a_task_that_waits_for_io_is_iowait():
    """Only while the CPU is idle, only on the CPU it ran on, only for waits for I/O."""

    async def scenario(engine, cpus, start):
        reader, other = Task(engine, "r", 1, cpus[:1]), Task(engine, "o", 2, cpus[:1])

        async def reading():
            await reader.get_cpu()
            async with reader.off_cpu(in_iowait=True):
                await engine.sleep(10_000)
                assert cpus[0].state.nr_iowait == 1
            async with reader.off_cpu():
                assert cpus[0].state.nr_iowait == 0
                await engine.sleep(7_000)
            await reader.put_cpu()

        async def computing():
            await engine.sleep(2_000)
            await other.get_cpu()
            await other.compute(3_000)
            await other.put_cpu()

        start("r", reading)
        start("o", computing)
        await engine.sleep(5_000)
        assert cpus[0].iowait_total_ns() == 2_000 - COSTS.context_switch_ns
        await engine.sleep(45_000)
        switched_to_other_ns = COSTS.context_switch_ns
        busy_ns = 3_000 + switched_to_other_ns
        assert cpus[0].iowait_total_ns() == 10_000 - busy_ns
        assert cpus[1].iowait_total_ns() == 0

    on_cpus(2, scenario)


def test_a_task_takes_an_idle_cpu_before_it_queues():
    """Of several it prefers the one it ran on, else an idle one, else the shortest queue."""
    log = []

    async def scenario(engine, cpus, start):
        for number, name in enumerate("abc"):
            start(name, worker(engine, cpus, log, name, at_ns=number))

    on_cpus(2, scenario)
    assert log == [("a", 100), ("b", 101), ("c", 700)]


def test_off_the_cpu_others_run():
    """A task that sleeps frees the CPU and queues for it again; the wait is its run delay."""
    seen = {}

    async def scenario(engine, cpus, start):
        sleeper, other = Task(engine, "s", 1, cpus), Task(engine, "o", 2, cpus)

        async def sleeping():
            await sleeper.get_cpu()
            async with sleeper.off_cpu():
                await engine.sleep(300)
                assert not sleeper.on_cpu
            seen["back_ns"] = engine.now_ns
            await sleeper.put_cpu()

        async def computing():
            await engine.sleep(1)
            await other.get_cpu()
            await other.compute(500, user=True)
            await other.put_cpu()

        start("s", sleeping)
        start("o", computing)
        await engine.sleep(5_000)
        seen["delay_ns"] = sleeper.run_delay_ns
        seen["times"] = (other.utime_ns, other.stime_ns)

    on_cpus(1, scenario)
    assert seen["back_ns"] == 100 + 100 + 500 + 100  # its switch, the other's, its work, and back
    assert seen["delay_ns"] == 100 + (seen["back_ns"] - 400)  # it wanted to go on at 100 + 300
    assert seen["times"] == (500, 0)


def test_a_task_that_does_not_run_cannot_leave():
    """Leaving a CPU one is not on is a bug and says so."""

    async def scenario(engine, cpus, start):
        task = Task(engine, "ghost", 1, cpus)
        with pytest.raises(AssertionError, match="ghost is not running on cpu0"):
            await task.put_cpu()

    on_cpus(1, scenario)
