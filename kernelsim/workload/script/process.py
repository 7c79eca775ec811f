"""Run one process of a portable script on a simulated machine.

Each step does what the recorded program does and reports in its words, so that a run of ours and
a recorded one are compared line by line.

Interface: make a `ScriptProcess` for a `Memhog` line and spawn it as a process's program.
`supported_steps` names the steps it can do.
Units: bytes, ns; kB where the recorded lines say so.
"""

from collections.abc import Awaitable, Callable
from typing import Final

import attrs

from kernelsim.actors.process.calls.table import CALLS
from kernelsim.errors import SyscallError, WorkloadError
from kernelsim.procfs.meminfo import meminfo_kb, render_meminfo
from kernelsim.procfs.snapshot import ProcessSnapshot
from kernelsim.procfs.vmstat import render_numastat, render_vmstat, vmstat_counters
from kernelsim.units import KIB, MIB, PAGE_SHIFT, PAGE_SIZE
from kernelsim.workload.handle import ProcessHandle
from kernelsim.workload.script.churn_steps import MEMORY_STEPS
from kernelsim.workload.script.drivers import DRIVER_STEPS
from kernelsim.workload.script.file_steps import FILE_STEPS, FileSteps
from kernelsim.workload.script.fork_steps import FORK_STEPS, ForkSteps
from kernelsim.workload.script.heap_steps import HEAP_STEPS, HeapSteps
from kernelsim.workload.script.numa_steps import NUMA_STEPS
from kernelsim.workload.script.proc_files import VERBATIM_FILES, WALKING_STEPS, mem_of, proc_text
from kernelsim.workload.script.report import Report
from kernelsim.workload.script.script import Memhog
from kernelsim.workload.script.script_output import (
    StepReport,
    mem_line,
    meminfo_line,
    pass_line,
    pointer,
    snapshot_lines,
    step_line,
    verbatim_lines,
    vmdelta_lines,
)
from kernelsim.workload.script.script_steps import Step
from kernelsim.workload.script.splitmix import SplitMix64
from kernelsim.workload.script.state import ScriptState
from kernelsim.workload.script.step_work import (
    EINVAL,
    NO_REGION,
    RANDOM_BATCH,
    Outcome,
    call_arguments,
    make_call,
    named_by,
    number_of,
    touch_random,
    write_file,
)
from kernelsim.workload.script.write_steps import WRITE_STEPS, WriteSteps
from kernelsim.workload.syscall import MappedRange

TIMED_BATCH: Final = 16  # the same where a deadline is watched between them; more without faults
GROW_REPORT_BYTES: Final = 16 * MIB


class ScriptProcess:
    """The program of one line of a script.

    Args:
        state: What the script's processes share.
        memhog: The line.
    """

    def __init__(self, state: ScriptState, memhog: Memhog) -> None:
        self._state = state
        self._memhog = memhog
        self._name = "memhog"
        self._regions: dict[str, MappedRange] = {}
        self._vmstat: dict[str, int] = {}
        self._report = Report(state.machine)
        self._say = self._report.say
        self._handle: ProcessHandle
        self._files: FileSteps
        self._writes: WriteSteps
        self._heap: HeapSteps
        self._forks: ForkSteps

    async def __call__(self, handle: ProcessHandle) -> None:
        """Do the steps in order; a process that is killed simply stops."""
        self._handle = handle
        machine, regions, say = self._state.machine, self._regions, self._say
        self._files = FileSteps(handle, machine, regions, lambda: self._name, say)
        self._writes = WriteSteps(handle, self._state, self._files, self._report)
        self._heap = HeapSteps(handle, self._state, regions, lambda: self._name, say)
        self._forks = ForkSteps(handle, regions, say)
        await handle.start_image()
        for number, step in enumerate(self._memhog.steps, start=1):
            await self._do(number, step)
            if handle.exit_status is None:
                await self._report.spend(handle)
            if handle.exit_status is not None:
                return

    async def _do(self, number: int, step: Step) -> None:
        machine, before = self._state.machine, self._handle.stats
        began_ns = machine.now_ns
        if step.op not in SILENT:
            await self._report.start(self._handle)
        try:
            outcome = await STEPS.get(step.op, ScriptProcess.call)(self, step)
        except SyscallError as error:
            outcome = Outcome(-1, error.errno)
        if outcome is None or self._handle.exit_status is not None:
            return
        now = self._handle.stats
        majflt = now.pgmajfault - before.pgmajfault
        self._say(
            step_line(
                StepReport(
                    proc=self._name,
                    step=number,
                    op=step.text,
                    ret=outcome.ret,
                    errno=outcome.errno,
                    minflt=now.pgfault - before.pgfault - majflt,
                    majflt=majflt,
                    duration_ns=machine.now_ns - began_ns,
                    fields=outcome.fields,
                )
            )
        )

    def _snapshot(self, *, usage: bool = False) -> ProcessSnapshot:
        return self._handle.capture(usage=usage)

    async def identity(self, step: Step) -> Outcome | None:
        """name, adj, uid: set the identity of the process."""
        process, value = self._handle, step.args[0]
        if step.op == "name":
            self._name = process.name = str(value)
            return None
        if step.op == "adj":
            process.oom_score_adj = number_of(value)
            return Outcome()
        process.uid = number_of(value)
        return Outcome()

    async def cpu(self, step: Step) -> Outcome:
        """Pin the process to one CPU."""
        number = number_of(step.args[0])
        if number >= self._state.machine.spec.nr_cpus:
            return Outcome(-1, EINVAL)
        await self._handle.set_affinity(number)
        return Outcome()

    async def call(self, step: Step) -> Outcome:
        """Make the call of the table that a step spells."""
        arguments = call_arguments(self._regions, step)
        if arguments is None:
            return NO_REGION
        result = await make_call(self._handle, step, arguments)
        if isinstance(result, MappedRange):
            self._regions[str(named_by(step, "new") or named_by(step, "region"))] = result
            return Outcome(fields=(("ptr", pointer(result.address)),))
        assert isinstance(result, int | None), "a call of a script gives a range or a number"
        return Outcome(result or 0)

    async def memory(self, step: Step) -> Outcome:
        """Name memory that is there, use it at random, alone or with others."""
        return await MEMORY_STEPS[step.op](self._state.machine, self._handle, self._regions, step)

    async def driver(self, step: Step) -> Outcome:
        """Have the kernel do something for itself."""
        return await DRIVER_STEPS[step.op](self._state.drivers, step)

    async def touch(self, step: Step) -> Outcome:
        """touchw, touchr: access a range, page by page or by another stride."""
        name, offset, length, passes, stride = step.args
        region = self._regions.get(str(name))
        if region is None:
            return NO_REGION
        start = number_of(offset or 0)
        if start > region.length and length is None:
            rule = f"step {step.text!r} begins behind the end of its region, {region.length} bytes"
            raise WorkloadError(rule, self._state.file, self._memhog.line)
        nr_passes = number_of(passes or 1)
        for number in range(1, nr_passes + 1):
            done = await self._handle.touch(
                region,
                write=step.op == "touchw",
                offset=start,
                length=region.length - start if length is None else number_of(length),
                stride=number_of(stride or PAGE_SIZE),
            )
            if done.signal:
                break
            if nr_passes > 1:
                line = pass_line(
                    self._name,
                    step.op,
                    number,
                    minflt=done.minflt,
                    majflt=done.majflt,
                    duration_ns=done.latency_ns,
                )
                self._say(line)
        return Outcome()

    async def random(self, step: Step) -> Outcome:
        """randw, randr: access so many random pages; fillrand: store to the whole region."""
        region = self._regions.get(str(step.args[0]))
        if region is None:
            return NO_REGION
        await touch_random(self._handle, region, step)
        return Outcome()

    async def randtime(self, step: Step) -> Outcome:
        """Access random pages for a time."""
        name, seed, duration, percent = step.args
        region, machine = self._regions.get(str(name)), self._state.machine
        if region is None:
            return NO_REGION
        numbers, nr_pages = SplitMix64(number_of(seed)), max(1, region.length // PAGE_SIZE)
        end_ns = machine.now_ns + number_of(duration)
        accesses, nr_writes, n = 0, 0, TIMED_BATCH
        while machine.now_ns < end_ns and self._handle.exit_status is None:
            pages, writes = numbers.draw_accesses(nr_pages, number_of(percent), n)
            done = await self._handle.touch_pages((region.address >> PAGE_SHIFT) + pages, writes)
            accesses += n
            nr_writes += int(writes.sum())
            # Where nothing faults, all accesses take as long as those before, and many go at once.
            nr_in_time = (end_ns - machine.now_ns) * n // max(1, done.latency_ns)
            n = min(2 * n, RANDOM_BATCH, nr_in_time // TIMED_BATCH * TIMED_BATCH)
            if done.minflt or done.majflt or n < TIMED_BATCH:
                n = TIMED_BATCH
        return Outcome(fields=(("accesses", accesses), ("writes", nr_writes)))

    async def grow(self, step: Step) -> Outcome:
        """grow, growsnap: map and write one piece after the other."""
        size, most = number_of(step.args[0]), number_of(step.args[1])
        every = GROW_REPORT_BYTES
        if step.op == "growsnap":
            every = size
        elif step.args[2] is not None:
            every = number_of(step.args[2]) or size
        total, outcome = 0, Outcome()
        while total < most and self._handle.exit_status is None:
            try:
                piece = await self._handle.mmap(size)
            except SyscallError as error:
                outcome = Outcome(-1, error.errno)
                break
            await self._handle.touch(piece, write=True)
            total += size
            if total % every == 0 and self._handle.exit_status is None:
                zones = step.op == "growsnap"
                await self._report.has_grown(self._handle, self._name, total, zones=zones)
        return attrs.evolve(outcome, fields=(("total_kB", total // KIB),))

    async def on_file(self, step: Step) -> Outcome:
        """Work on a file."""
        return await FILE_STEPS[step.op](self._files, step)

    async def on_write(self, step: Step) -> Outcome:
        """Write a file, or watch."""
        return await WRITE_STEPS[step.op](self._writes, step)

    async def on_heap(self, step: Step) -> Outcome:
        """Allocate or free."""
        return await HEAP_STEPS[step.op](self._heap, step)

    async def on_fork(self, step: Step) -> Outcome:
        """Make a child, and wait for it."""
        return await FORK_STEPS[step.op](self._forks, step)

    async def on_region(self, step: Step) -> Outcome:
        """Tell on which nodes the pages of a region are."""
        region = self._regions.get(str(step.args[0]))
        if region is None:
            return NO_REGION
        return await NUMA_STEPS[step.op](self._handle, region, step)

    async def mem(self, _step: Step) -> None:
        """Print the memory lines of its status."""
        process = self._snapshot()
        self._report.has_read(proc_text("status", process, self._state.machine.spec.nr_cpus))
        self._say(mem_line(self._name, mem_of(process)))

    async def meminfo(self, _step: Step) -> None:
        """Print the main lines of /proc/meminfo."""
        snapshot = self._state.machine.capture()
        self._report.has_read(render_meminfo(snapshot))
        self._say(meminfo_line(self._name, meminfo_kb(snapshot)))

    async def file(self, step: Step) -> None:
        """Print a file of its /proc directory."""
        # It reads the file itself, so it runs meanwhile.
        process = attrs.evolve(self._snapshot(usage=step.op in WALKING_STEPS), state="R")
        text = proc_text(step.op, process, self._state.machine.spec.nr_cpus)
        self._report.has_read(text)
        self._say(*verbatim_lines(self._name, VERBATIM_FILES[step.op], text))

    async def numastat(self, _step: Step) -> None:
        """Print where requests were served, a file for each node."""
        snapshot = self._state.machine.capture()
        for nid in range(len(self._state.machine.spec.nodes)):
            file = f"/sys/devices/system/node/node{nid}/numastat"
            text = render_numastat(snapshot, nid)
            self._report.has_read(text)
            self._say(*verbatim_lines(self._name, file, text))

    async def vmstat(self, step: Step) -> None:
        """vm0, vmd: remember the counters; print what changed since, and remember afresh."""
        await self._handle.syscall("stat_refresh")
        snapshot = self._state.machine.capture()
        now = vmstat_counters(snapshot)
        self._report.has_read(render_vmstat(snapshot))
        if step.op == "vmd":
            self._say(*vmdelta_lines(str(step.args[0]), self._vmstat, now))
        self._vmstat = now

    async def snap(self, step: Step) -> None:
        """Write a snapshot directory."""
        began_ns = self._state.machine.now_ns
        name = str(step.args[0])
        await self._handle.syscall("stat_refresh")
        await self._state.machine.snapshot(name)
        self._say(*snapshot_lines(self._name, name, self._state.machine.now_ns - began_ns))

    async def mark(self, step: Step) -> None:
        """Print a mark."""
        self._say(f"proc={self._name} mark={step.args[0]}")

    async def poke(self, step: Step) -> Outcome:
        """Write a sysctl through its file, or to a file of /sys."""
        await write_file(self._handle, self._state.machine, step)
        return Outcome()

    async def mkfile(self, step: Step) -> None:
        """Make a file that others wait for."""
        self._state.make_file(str(step.args[0]))

    async def wait(self, step: Step) -> None:
        """Wait for a file that another process makes."""
        await self._wait_for_others(step, self._state.wait_for_file(str(step.args[0])))

    async def sleep(self, step: Step) -> None:
        """Sleep."""
        await self._handle.sleep(number_of(step.args[0]))

    async def hold(self, step: Step) -> None:
        """Wait until killed."""
        await self._wait_for_others(step, self._handle.wait())

    async def _wait_for_others(self, step: Step, waiting: Awaitable[object]) -> None:
        place = (self._memhog.line, step.text)
        self._state.waiting.append(place)
        await waiting
        self._state.waiting.remove(place)


StepFunction = Callable[[ScriptProcess, Step], Awaitable[Outcome | None]]
STEPS: Final[dict[str, StepFunction]] = {
    **dict.fromkeys(("name", "adj", "uid"), ScriptProcess.identity),
    "cpu": ScriptProcess.cpu,
    **dict.fromkeys(MEMORY_STEPS, ScriptProcess.memory),
    **dict.fromkeys(DRIVER_STEPS, ScriptProcess.driver),
    **dict.fromkeys(("touchw", "touchr"), ScriptProcess.touch),
    **dict.fromkeys(("randw", "randr", "fillrand"), ScriptProcess.random),
    "randtime": ScriptProcess.randtime,
    **dict.fromkeys(("grow", "growsnap"), ScriptProcess.grow),
    **dict.fromkeys(FILE_STEPS, ScriptProcess.on_file),
    **dict.fromkeys(WRITE_STEPS, ScriptProcess.on_write),
    **dict.fromkeys(HEAP_STEPS, ScriptProcess.on_heap),
    **dict.fromkeys(FORK_STEPS, ScriptProcess.on_fork),
    **dict.fromkeys(NUMA_STEPS, ScriptProcess.on_region),
    "mem": ScriptProcess.mem,
    "meminfo": ScriptProcess.meminfo,
    **dict.fromkeys(VERBATIM_FILES, ScriptProcess.file),
    "numastat": ScriptProcess.numastat,
    **dict.fromkeys(("vm0", "vmd"), ScriptProcess.vmstat),
    "snap": ScriptProcess.snap,
    "mark": ScriptProcess.mark,
    "poke": ScriptProcess.poke,
    "mkfile": ScriptProcess.mkfile,
    "wait": ScriptProcess.wait,
    "sleep": ScriptProcess.sleep,
    "hold": ScriptProcess.hold,
}
SILENT: Final = frozenset(  # steps without a line of their own
    {"name", "mem", "meminfo", "numastat", *VERBATIM_FILES}
    | {"vm0", "vmd", "snap", "mark", "mkfile", "wait", "sleep", "hold"}
)


def supported_steps() -> frozenset[str]:
    """Return the steps that can be done, as `op:word` where only some words of one can."""
    listed = {*STEPS, "memhogdyn"}
    for op, call in CALLS.by_step.items():
        listed |= {f"{op}:{word}" for word in call.words} or {op}
    return frozenset(listed)
