"""Run a plan: load with every invariant checked all the way, then calm; say how it failed, if.

    result = run_plan(plan)
    result.failure          # None, or a class and what does not hold

Load: the script runs, faults come when they are due. After so many steps of the engine whatever
still lives is killed. Calm: nothing is asked for any more, and the machine must come to rest with
all its memory back (calm.py).

Interface: `run_plan`, `Result`, `Failure`. Units: ns.
"""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Final

import attrs

from kernelsim.actors.core.kernel import PANIC
from kernelsim.actors.core.signal import SIGKILL, send_signal
from kernelsim.check.machine import require_sound
from kernelsim.check.record import Record, observe
from kernelsim.errors import (
    DeadlockError,
    EventLimitError,
    InvariantViolation,
    KernelPanicError,
    LivelockError,
    SimulationError,
)
from kernelsim.explore.accounts import unequal
from kernelsim.explore.calm import Baseline, losses, unrest
from kernelsim.explore.digest import DigestSink
from kernelsim.explore.faults import FaultInjector
from kernelsim.explore.plan import POWER_CUT, Fault, Plan
from kernelsim.explore.program import Program
from kernelsim.machine import Machine
from kernelsim.mm.core.vmstat import NODE_STAT_NAMES, NR_MAPPED, NUMA_STAT_NAMES, VM_EVENT_NAMES
from kernelsim.mm.swap.swap_area import SS_FREE
from kernelsim.sim.actor import Actor, ActorRef
from kernelsim.units import NS_PER_MS
from kernelsim.workload.handle import ProcessHandle
from kernelsim.workload.machine import MachineHandle
from kernelsim.workload.script.drivers import Drivers
from kernelsim.workload.script.host import Hypervisor, check_host
from kernelsim.workload.script.script import Host, Kill, Memhog, Sleep, Sysctl, Wait

INVARIANT: Final = "invariant"
DEADLOCK: Final = "deadlock"
LIVELOCK: Final = "livelock"
EXCEPTION: Final = "exception"
DETERMINISM: Final = "determinism"

NO_POWER: Final = "power cut"  # state of the end of a run
CALM_LOOK_NS: Final = 200 * NS_PER_MS  # kswapd sleeps 100 ms before it sleeps for good
CALM_LOOKS: Final = 300  # a minute of virtual time in which no disk does anything
CALM_EVENTS: Final = 1_000_000  # of the engine, that ending and coming to rest may take
PAGES_PER_CHECK_EVENT: Final = 64  # a look costs as much as that many steps on a big machine
VARYING: Final = re.compile(r"\b[a-z]+\d*-\d+|0x[0-9a-f]+|-?\d+")  # tasks, addresses, numbers


@attrs.frozen
class Failure:
    """How a run failed.

    Attributes:
        kind: Its class, one of the five constants above.
        text: The report, maybe many lines.
        signs: What is the same in another run that fails for the same reason: its lines without
            numbers.
    """

    kind: str
    text: str
    signs: tuple[str, ...]

    def is_like(self, other: "Failure | None") -> bool:
        """Tell whether another run failed for the same reason, as far as its text tells."""
        return (
            other is not None
            and other.kind == self.kind
            and (self.signs[:1] == other.signs[:1] or self.signs[0] in other.signs)
        )


@attrs.frozen(kw_only=True)
class Result:
    """What a run left.

    Attributes:
        failure: How it failed; None if all was well.
        digest: Of its log and its counters: equal if the runs were equal to the byte.
        state: How it ended: "done", "panic", "power cut", or how it failed.
        nr_events: Steps of the engine.
        virtual_ns: Virtual time of its end.
        counts: Counters of /proc/vmstat and events of the log that are not 0, by name.
    """

    failure: Failure | None
    digest: str
    state: str
    nr_events: int
    virtual_ns: int
    counts: dict[str, int]
    last_events: tuple[str, ...] = ()


def run_plan(plan: Plan) -> Result:
    """Run a plan.

    Raises:
        UserError: The plan breaks a rule; nothing has run.
        KeyboardInterrupt: Ctrl-C.
    """
    check_host(plan.parsed)
    return _Run(plan).go()


class _Run:
    """One run of a plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.sink = DigestSink()
        self.machine = Machine(
            plan.spec(),
            seed=plan.seed,
            schedule_seed=plan.schedule_seed,
            burst_pages=plan.burst_pages,
            max_events=plan.load_events + CALM_EVENTS,
            sink=self.sink,
            on_boot=self._on_boot,
        )
        self.kernel = self.machine.kernel
        self.handle = MachineHandle(self.machine)
        pages = self.kernel.phys.totalram_pages
        self.check_every = max(plan.check_every, pages // PAGES_PER_CHECK_EVENT)
        self.faults = sorted(plan.fault, key=lambda fault: fault.event, reverse=True)
        self.injector: ActorRef
        self.record: Record | None = None
        self.check_due = self.began = 0
        self.nr_full = self.nr_around = self.nr_kept = 0
        self.failed: Counter[str] = Counter()
        self.drivers = Drivers(self.handle)
        self.is_over = False

    def go(self) -> Result:
        """Run to the end, whatever it is."""
        failure = None
        try:
            self.machine.run(lambda _machine: self._main())
        except KernelPanicError:
            pass
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what was looked for
            failure = failure_of(error)
        engine, ended = self.machine.engine, self.machine.ended
        state = "done" if ended is None else ended.state
        counts = self._counts(state)
        now_ns = engine.now_ns if ended is None else ended.now_ns
        return Result(
            failure=failure,
            digest=self.sink.digest(repr((sorted(counts.items()), now_ns)).encode()),
            state=failure.kind if failure else state,
            nr_events=engine.clock.number,
            virtual_ns=now_ns,
            counts=counts,
            last_events=tuple(self.sink.ring.lines()) if failure else (),
        )

    def _counts(self, state: str) -> dict[str, int]:
        """Return what happened how often, and a word for what has no counter."""
        mem, events = self.kernel.mem, self.sink.counts
        counts = dict(zip(VM_EVENT_NAMES, mem.vm_event.tolist(), strict=True))
        counts |= zip(NODE_STAT_NAMES, mem.node_stat.sum(axis=0).tolist(), strict=True)
        counts |= zip(NUMA_STAT_NAMES, mem.numa_stat.sum(axis=0).tolist(), strict=True)
        counts |= events
        counts |= {f"failed with {name}": nr for name, nr in sorted(self.failed.items())}
        heard = self.sink.heard
        counts |= {f"{kind} faults": nr for kind, nr in sorted(heard.faults.items())}
        counts |= {f"a fault fails: {why}": nr for why, nr in sorted(heard.failed.items())}
        counts["more is mapped than faulted on"] = self.nr_around
        counts["swap is full"] = self.nr_full
        counts["a victim that dies anyway"] = events["mark_victim"] - counts["oom_kill"]
        counts["panic"] = int(state == PANIC)
        counts["power cut"] = int(state == NO_POWER)
        counts["blocks of the kernel"] = self.drivers.nr_blocks
        counts["a block of the kernel fails"] = self.drivers.nr_failed
        counts["packets are dropped"] = self.drivers.nr_dropped
        counts["pages that fsync had acknowledged"] = self.nr_kept
        for process in self.handle.processes:
            if (status := process.exit_status or 0) < 0:
                name = f"ended by {-status}"
                counts[name] = counts.get(name, 0) + 1
        return {name: nr for name, nr in counts.items() if nr > 0}

    def _on_boot(self, machine: Machine) -> None:
        if self.plan.observe:
            self.record = observe(self.kernel)
        clock = machine.engine.clock
        self.injector = machine.engine.spawn(FaultInjector(self.kernel))
        self.began = clock.number
        self.check_due = clock.number + self.check_every
        clock.on_tick = self._on_tick
        self._set_tick()

    def _on_tick(self, _is_time: bool) -> None:
        clock = self.machine.engine.clock
        number = clock.number - self.began
        if clock.number >= self.check_due:
            self.check_due = clock.number + self.check_every
            self.nr_full += int(self.kernel.nr_swap_pages and not self.kernel.swap.state[SS_FREE])
            nr_mapped = int(self.kernel.mem.node_stat[:, NR_MAPPED].sum())
            self.nr_around += nr_mapped > self.sink.heard.faults["file"]
            require_sound(self.kernel)
        while self.faults and self.faults[-1].event <= number:
            self._go_wrong(self.faults.pop())
        if not self.is_over and number >= self.plan.load_events:
            self._end_load()
        self._set_tick()

    def _go_wrong(self, fault: Fault) -> None:
        if fault.kind != POWER_CUT:
            self.injector.tell(fault)
            return
        require_sound(self.kernel)  # also that disks hold what was acknowledged
        if self.record is not None:
            self.nr_kept = self.record.promises.nr_pages
        self.machine.engine.stop("the power failed", state=NO_POWER)

    def _set_tick(self) -> None:
        due = [self.check_due]
        if self.faults:
            due.append(self.began + self.faults[-1].event)
        if not self.is_over:
            due.append(self.began + self.plan.load_events)
        self.machine.engine.clock.set_tick(None, min(due))

    def _end_load(self) -> None:
        self.is_over = True
        self.faults.clear()
        for process in list(self.kernel.processes.values()):
            send_signal(self.kernel, process, SIGKILL)

    async def _main(self) -> None:
        before, events = Baseline.of(self.kernel), self.kernel.mem.vm_event.copy()
        await self._load()
        self._end_load()
        for process in self.handle.processes:
            await process.wait()
        await self.drivers.stop()
        own = (self.machine.engine.actors["faults"],)
        await self._calm(own)
        require_sound(self.kernel)
        ended = [process.stats for process in self.handle.processes]
        lost = [
            *losses(self.kernel, before),
            *unequal(self.kernel, events, self.sink.heard, ended),
        ]
        if lost:
            raise InvariantViolation(told("not all is back in the calm", lost))

    async def _calm(self, own: tuple[Actor, ...]) -> None:
        """Wait until the machine rests; a disk that still gets on with its requests may take long.

        Raises:
            LivelockError: It does not, and no disk does anything.
        """
        left, requests = CALM_LOOKS, 0
        while left:
            await self.handle.sleep(CALM_LOOK_NS)
            if not any(unrest(self.kernel, own)):
                return
            counts = [device.statistics for device in self.kernel.devices.values()]
            before, requests = requests, sum(each.nr_reads + each.nr_writes for each in counts)
            left = CALM_LOOKS if requests > before else left - 1
        raise LivelockError(told("calm does not come", unrest(self.kernel, own)))

    async def _load(self) -> None:
        background: list[ProcessHandle] = []
        hypervisor = Hypervisor(self.handle)
        for command in self.plan.parsed.commands:
            if self.is_over:
                return
            if isinstance(command, Host):
                await hypervisor.run(command)
            elif isinstance(command, Memhog):
                program = Program(self.handle, command, self.failed, self.drivers)
                process = await self.handle.spawn(command.name, program)
                if command.background:
                    background.append(process)
                else:
                    await process.wait()
            elif isinstance(command, Sysctl):
                self.handle.sysctl(command.key, command.value)
            elif isinstance(command, Sleep):
                await self.handle.sleep(command.duration_ns)
            elif isinstance(command, Kill):
                for process in background:
                    if process.name == command.name and process.exit_status is None:
                        await process.kill()
            elif isinstance(command, Wait):
                for process in background:
                    await process.wait()
        await hypervisor.finish()


def told(head: str, lines: object) -> str:
    """Write a report: a head and a line for each thing."""
    assert isinstance(lines, list | Iterator)
    return "\n".join([f"{head}:", *(f"  {line}" for line in lines)])


def failure_of(error: Exception) -> Failure:
    """Tell the class of what ended a run, and what is the same in runs that end alike."""
    kinds = {
        InvariantViolation: INVARIANT,
        DeadlockError: DEADLOCK,
        LivelockError: LIVELOCK,
        EventLimitError: LIVELOCK,
    }
    kind = next((kinds[each] for each in kinds if isinstance(error, each)), EXCEPTION)
    text = str(error) if isinstance(error, SimulationError) else f"main crashed: {error!r}"
    lines = text.splitlines()
    if kind == INVARIANT:
        shown = [line for line in lines if line.startswith("  ")] or lines
    elif kind == EXCEPTION:
        cause = error.__cause__ or error
        shown = [f"{type(cause).__name__}: {cause}"]
    else:
        shown = lines[:1]
    signs = tuple(dict.fromkeys(sign_of(line) for line in shown))
    return Failure(kind, text, signs)


def sign_of(line: str) -> str:
    """Return a line of a report without what differs between runs that fail alike."""
    return VARYING.sub("#", line).strip()
