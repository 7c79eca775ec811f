"""Tests of load balancing: equal shares, other nodes, affinity, and peace among equals."""

from collections import Counter

import pytest

from kernelsim.actors.core.task import Task
from kernelsim.actors.parts.cpu import Cpu
from kernelsim.actors.parts.load_balancer import LoadBalancer
from kernelsim.check.machine import check_machine
from kernelsim.config.latency import LatencySpec
from kernelsim.errors import SimulationError
from kernelsim.mm.burst.columns import new_burst
from kernelsim.sched.psi import PsiGroup
from kernelsim.sim.actor import Actor
from kernelsim.sim.engine import Engine
from kernelsim.units import NS_PER_MS, NS_PER_S, NS_PER_US
from tests.small_machine import run as run_machine
from tests.small_machine import small_machine

COSTS = LatencySpec()
STEP_NS = 50 * NS_PER_US


class Hog(Actor):
    """Computes until a time, and counts the CPUs it ran on."""

    def __init__(self, name, cpus, *, start=None, until_ns=NS_PER_S):
        super().__init__(name)
        self.cpus, self.first, self.until_ns = cpus, start, until_ns
        self.steps = Counter()
        self.moves = 0

    async def run(self):
        """Compute."""
        self.task = Task(self.engine, self.name, 1, self.cpus)
        self.task.cpu = self.first or self.task.cpu
        await self.task.get_cpu()
        while self.engine.now_ns < self.until_ns:
            before = self.task.cpu.number
            await self.task.compute(STEP_NS)
            self.steps[before] += 1
            self.moves += self.task.cpu.number != before
        await self.task.put_cpu()

    @property
    def ran_ns(self):
        """CPU time it had."""
        return self.steps.total() * STEP_NS


class Pinned(Hog):
    """Is bound to a CPU until it first runs, so that it begins in that one's queue."""

    def __init__(self, name, cpus, first):
        super().__init__(name, cpus)
        self.bound = first

    async def run(self):
        """Queue there, be let go, compute."""
        self.engine.clock.schedule(self.engine.now_ns, self.let_go, None)
        self.cpus, self.all_cpus = [self.bound], self.cpus
        await super().run()

    def let_go(self, _nothing):
        """Let it run on all CPUs."""
        self.cpus = self.all_cpus
        self.task.cpus = tuple(self.cpus)


def run(distances, cpu_nid, make_hogs):
    """Run hogs on a machine's CPUs; `make_hogs(cpus)` gives them in the order of their start."""
    engine = Engine()
    hogs = []

    async def main(engine):
        nr_nodes = len(distances)
        burst = new_burst(nr_cpus=len(cpu_nid), nr_nodes=nr_nodes, nr_zones=nr_nodes)
        psi = PsiGroup()
        cpus = [
            Cpu(number, nid, distances[nid], COSTS, burst, psi, len(cpu_nid))
            for number, nid in enumerate(cpu_nid)
        ]
        for cpu in cpus:
            engine.spawn(cpu)
        LoadBalancer(engine, cpus, distances)
        hogs.extend(make_hogs(cpus))
        for ref in [engine.spawn(hog) for hog in hogs]:
            await ref.join()

    engine.run(main)
    return hogs


ONE_NODE = ((10,),)
TWO_NODES = ((10, 20), (20, 10))


@pytest.mark.slow
@pytest.mark.parametrize(("nr_hogs", "nr_cpus"), [(3, 2), (4, 3), (5, 4), (5, 2), (7, 3)])
def test_equal_processes_get_equal_shares(nr_hogs, nr_cpus):
    """Started together, each has its share of two seconds of all CPUs within a tenth."""
    hogs = run(
        ONE_NODE,
        (0,) * nr_cpus,
        lambda cpus: [Hog(f"h{n}", cpus, until_ns=2 * NS_PER_S) for n in range(nr_hogs)],
    )
    share_ns = 2 * NS_PER_S * nr_cpus // nr_hogs
    for hog in hogs:
        assert hog.ran_ns == pytest.approx(share_ns, rel=0.1)


def test_equal_loads_are_left_alone():
    """Four tasks on two CPUs, two each: none moves."""
    hogs = run(ONE_NODE, (0, 0), lambda cpus: [Hog(f"h{n}", cpus) for n in range(4)])
    assert [hog.moves for hog in hogs] == [0] * 4
    for hog in hogs:
        assert hog.ran_ns == pytest.approx(NS_PER_S // 2, rel=0.02)


def test_a_cpu_that_becomes_idle_takes_a_task_that_waits():
    """One of three ends; from the next instant on, the other two have a CPU each."""

    def make(cpus):
        short = Hog("short", cpus[1:], until_ns=100 * NS_PER_MS)
        return [short, *(Hog(f"h{n}", cpus, start=cpus[0]) for n in range(2))]

    _, *hogs = run(ONE_NODE, (0, 0), make)
    for hog in hogs:
        assert hog.ran_ns > 940 * NS_PER_MS


def test_an_idle_cpu_takes_a_task_at_a_tick():
    """Two tasks begin on one CPU; the other, idle all along, has one of them a tick later."""
    hogs = run(ONE_NODE, (0, 0), lambda cpus: [Pinned(f"h{n}", cpus, cpus[0]) for n in range(2)])
    assert sorted(number for hog in hogs for number in hog.steps) == [0, 1]
    for hog in hogs:
        [(number, nr_steps)] = hog.steps.items()
        busy_ns = hog.cpus[number].busy_total_ns()
        assert nr_steps * STEP_NS == pytest.approx(NS_PER_S, rel=0.02)
        assert busy_ns == pytest.approx(nr_steps * STEP_NS, abs=NS_PER_MS)  # idle till the tick


def test_a_task_stays_where_it_may_run():
    """Two tasks bound to one CPU share it; the idle one beside it takes neither."""
    hogs = run(ONE_NODE, (0, 0), lambda cpus: [Hog(f"h{n}", cpus[:1]) for n in range(2)])
    assert all(list(hog.steps) == [0] for hog in hogs)


def test_idle_cpus_of_other_nodes_take_tasks_too():
    """Of four tasks that began on one CPU, each CPU of both nodes gets one, and keeps it."""

    def make(cpus):
        return [Hog(f"h{n}", cpus, start=cpus[0]) for n in range(4)]

    hogs = run(TWO_NODES, (0, 0, 1, 1), make)
    assert sorted(hog.steps.most_common(1)[0][0] for hog in hogs) == [0, 1, 2, 3]


class Stuck(Hog):
    """Holds its CPU and waits for what never comes."""

    async def run(self):
        """Take the CPU and wait."""
        self.task = Task(self.engine, self.name, 1, self.cpus)
        await self.task.get_cpu()
        await self.engine.wait_queue("godot").wait()


def test_ticks_do_not_hide_a_deadlock():
    """A task waits for the CPU of one that waits for ever: the run ends and says so."""
    with pytest.raises(SimulationError, match=r"deadlock at .* stuck waits for wait queue godot"):
        run(ONE_NODE, (0, 0), lambda cpus: [Stuck("stuck", cpus[:1]), Hog("hog", cpus[:1])])


class Caller(Hog):
    """Leaves its CPU after each step and comes back at once, as between two system calls."""

    async def run(self):
        """Compute in pieces."""
        self.task = Task(self.engine, self.name, 1, self.cpus)
        while self.engine.now_ns < self.until_ns:
            await self.task.get_cpu()
            before = self.task.cpu.number
            await self.task.compute(STEP_NS)
            self.steps[before] += 1
            self.moves += self.task.cpu.number != before
            await self.task.put_cpu()


def test_who_begins_the_next_call_does_not_leave_its_cpu_idle():
    """The other CPU's waiting tasks are not taken over each time; it keeps its own."""

    def make(cpus):
        return [Caller("caller", cpus[1:]), *(Hog(f"h{n}", cpus, start=cpus[0]) for n in range(2))]

    caller, *hogs = run(ONE_NODE, (0, 0), make)
    assert list(caller.steps) == [1]
    assert sum(hog.moves for hog in hogs) < 100


@pytest.mark.parametrize("burst_pages", [1, 64])
def test_pressure_moves_with_the_tasks(monkeypatch, burst_pages):
    """Six write more than there is: invariants hold, each CPU counts the stalled tasks it has."""
    moved = Counter()
    detach = Cpu.detach

    def counted(cpu, place):
        queued, entity = detach(cpu, place)
        moved[entity.in_memstall] += 1
        return queued, entity

    monkeypatch.setattr(Cpu, "detach", counted)
    ended = []

    async def thrash(process):
        area = await process.mmap("8M")
        for _ in range(2):
            await process.touch(area, write=True)
        ended.append(process)

    async def main(machine):
        kernel = machine.kernel
        for number in range(6):
            await machine.spawn(f"p{number}", thrash)
        while len(ended) < 6:
            assert check_machine(kernel) == []
            entities = [entry.task.entity for entry in kernel.processes.values()]
            stalled = [entity for entity in entities if entity.in_memstall]
            for cpu in kernel.cpus:
                on_it = sum(entity.queue is cpu.fair for entity in stalled)
                assert cpu.psi.nr_memstall - on_it in (0, 1)  # kswapd stalls, too
            await machine.sleep("4ms")
        await machine.sleep("1s")  # kswapd goes to sleep
        for cpu in kernel.cpus:
            assert (cpu.psi.nr_memstall, cpu.psi.nr_memstall_running) == (0, 0)

    run_machine(
        small_machine(cpus=("0-1",), memory="16M", swap="128M"), main, burst_pages=burst_pages
    )
    assert moved[True]
    assert moved[False]
