"""Run recorded programs of virtual-memory system calls, one process each, step by step.

A step is a call of the table of system calls, or an access; what it answers is written as the
recorder wrote what the real kernel answered (shared/oracle/syscalls/FORMAT.md, vmaprog.c).
Interface: `run_family` runs programs on one machine and returns a recording.
Units: bytes, pages where the format has pages.
"""

import re
from collections.abc import Sequence
from functools import partial
from typing import Final

import attrs

from kernelsim.actors.core.process_table import ProcessEntry
from kernelsim.actors.core.sysctl import write_sysctl
from kernelsim.actors.process.calls.access import Touch
from kernelsim.actors.process.calls.file_write import Fsync
from kernelsim.actors.process.calls.files import Fadvise, Open
from kernelsim.actors.process.calls.forking import Fork, Wait4, Waited
from kernelsim.actors.process.calls.life import Exit, Sigaction, Sleep, StartImage
from kernelsim.actors.process.start import start_process
from kernelsim.check.machine import require_sound
from kernelsim.machine import DEFAULT_BURST_PAGES, Machine
from kernelsim.oracle.case_run import check_often
from kernelsim.oracle.vmaprog_machine import RECORDED_PROGRAM, recorded_machine
from kernelsim.oracle.vmaprog_program import (
    Places,
    SyscallProgram,
    length_of,
)
from kernelsim.oracle.vmaprog_report import Reporter
from kernelsim.oracle.vmaprog_steps import WORDS_MAX, Side, VmaSteps, result_text
from kernelsim.units import KIB, NS_PER_MS, PAGE_SHIFT, PAGE_SIZE

TMPFS_FILE: Final = "/dev/shm/vmafile"  # noqa: S108 - of the simulated machine
DISK_FILE: Final = "/mnt/vmafile"
FILE: Final = ["@file", "tmpfs", "16"]  # unless the program says otherwise
FILE_STEP: Final = re.compile(r"\bfile\b|rofile|wofile|fread|fwrite|ftruncate|fsync")
OWN_MAPPINGS: Final = 5
# Between two steps the recorder drains page vectors and reads all of /proc/self/maps, on an
# emulated CPU: disks have done by then what they were asked for. Any time above their latency will
# do.
GAP_NS: Final = 2 * NS_PER_MS
SWAPS: Final = re.compile(r"swap[-_]")  # names of programs that were recorded with swap


def run_family(
    programs: Sequence[SyscallProgram],
    *,
    seed: int = 1,
    burst_pages: int = DEFAULT_BURST_PAGES,
    check: bool = False,
) -> str:
    """Run programs one after the other on one machine; return the recording.

    Those that swap have a machine of their own, which can.

    Args:
        programs: What to run.
        seed: Of the run.
        burst_pages: Most pages a task touches before the log gets its events; see Machine.
        check: Check all invariants while they run, and at the end.
    """
    texts: dict[str, str] = {}
    for has_swap in (False, True):
        chosen = [program for program in programs if bool(SWAPS.match(program.name)) == has_swap]

        if chosen:
            spec = recorded_machine(has_swap=has_swap)
            on_boot = check_often if check else None
            machine = Machine(spec, seed=seed, burst_pages=burst_pages, on_boot=on_boot)
            machine.run(partial(run_programs, programs=chosen, texts=texts, check=check))
    return "\n".join(texts[program.name] for program in programs)


async def run_programs(
    machine: Machine, *, programs: Sequence[SyscallProgram], texts: dict[str, str], check: bool
) -> None:
    """Run programs on a machine; enter in `texts` what is written of each."""
    parent = await start_recorder(machine)
    for program in programs:
        texts[program.name] = await VmaProgram(machine, program, parent).run()
    if check:
        require_sound(machine.kernel)


async def start_recorder(machine: Machine) -> ProcessEntry:
    """Start the process that forks one for each program."""
    kernel = machine.kernel
    entry = start_process(kernel, "vmaprog", kernel.cpus, None, RECORDED_PROGRAM)
    await entry.ref.ask(Sleep(0))
    await entry.ref.ask(StartImage())
    await entry.ref.ask(Sigaction())
    await warm(entry)
    return entry


async def warm(entry: ProcessEntry) -> None:
    """Let a process touch all pages of its own, so that no step counts a fault on them."""
    mm = entry.mm
    await entry.ref.ask(Touch(mm.start_data, mm.end_data - mm.start_data, write=True))
    await entry.ref.ask(Touch(mm.stack_top - 8 * PAGE_SIZE, 8 * PAGE_SIZE, write=True))


class VmaProgram(VmaSteps):
    """One program on a machine.

    Args:
        machine: It runs.
        program: What to run.
        recorder: The process that forks one for it.
    """

    def __init__(self, machine: Machine, program: SyscallProgram, recorder: ProcessEntry) -> None:
        super().__init__(machine.kernel)
        self._program = program
        self._recorder = recorder
        self._lines: list[str] = []
        self._parent: Side
        self._child: Side | None = None
        self._child_pid = 0
        self._steps.update(fork=self._fork, vmfork=self._vmfork, wait=self._wait, exit=self._exit)

    async def run(self) -> str:
        """Run it; return what is written of it."""
        pid = await self._start()
        self._lines += [f"prog {self._program.name}", *self._program.directives]
        await self._make_file()
        self._obey_directives()
        self._reporter = Reporter(self._kernel, self._entry, self._places)
        self._reporter.changes()
        self._parent = Side(self._entry, self._places, self._reporter)
        for number, step in enumerate(self._program.steps, start=1):
            await self._step(number, step)
        self.use(self._parent)
        self._lines += self._reporter.end()
        if self._child is not None:
            self._lines += self._child.reporter.end()
            await self._child.entry.ref.ask(Exit(0))
        if self._child_pid:
            await self._ask(Wait4(self._child_pid))
        await self._ask(Exit(0))
        await self._recorder.ref.ask(Wait4(pid))
        self._kernel.files.by_path.pop(TMPFS_FILE, None)
        for name in ("vm.overcommit_memory", "vm.overcommit_kbytes"):
            write_sysctl(self._kernel, name, 0)
        write_sysctl(self._kernel, "vm.max_map_count", 65_530)
        return "\n".join(self._lines) + "\n"

    async def _start(self) -> int:
        """Start the process, and let it touch every page of its own; return its pid."""
        pid: int = await self._recorder.ref.ask(Fork())
        self._entry = self._recorder.children[pid]
        await warm(self._entry)
        mm = self._entry.mm
        vvar = next(vma for vma in mm.map if vma.file is not None and vma.file.path == "[vvar]")
        self._places = Places(heap=mm.brk, top=vvar.start, stack_end=mm.stack_top)
        return pid

    async def _make_file(self) -> None:
        """Make the program's file: fresh, written and synced, perhaps dropped from memory."""
        words = next((d.split() for d in self._program.directives if d.startswith("@file")), FILE)
        if not any(FILE_STEP.search(step) for step in self._program.steps):
            return
        path = DISK_FILE if words[1] == "ext4" else TMPFS_FILE
        size, fds = length_of(words[2]), self._fds
        fds["file"] = await self._ask(Open(path, create=True, truncate=True))
        for offset in range(0, size, PAGE_SIZE):
            nr = min(PAGE_SIZE, size - offset)
            fresh = self._contents.fresh(offset)[:nr]
            await self._store_to_file(offset, fresh)
        await self._ask(Fsync(fds["file"]))
        fds["rofile"] = await self._ask(Open(path, mode="r"))
        fds["wofile"] = await self._ask(Open(path, mode="w"))
        if "cold" in words:
            await self._ask(Fadvise(fds["file"], "dontneed"))

    def _obey_directives(self) -> None:
        """Set the tunables that the program wants."""
        kernel = self._kernel
        for line in self._program.directives:
            words = line.split()
            if words[0] == "@overcommit":
                write_sysctl(kernel, "vm.overcommit_memory", int(words[1]))
                if words[1] == "2":
                    pages = kernel.mms.commit.committed_pages
                    kbytes = pages * 4 + length_of(words[2]) // KIB
                    write_sysctl(kernel, "vm.overcommit_kbytes", kbytes)
            elif words[0] == "@maxmap":
                count = OWN_MAPPINGS + (length_of(words[1]) >> PAGE_SHIFT)
                write_sysctl(kernel, "vm.max_map_count", count)

    async def _step(self, number: int, text: str) -> None:
        words = text.split()
        side: Side | None = self._parent
        if words[0] in ("P", "C"):
            side = self._child if words[0] == "C" else side
            words = words[1:]
        if side is None:
            self._lines.append(f"{number} {text} -> nochild")
            return
        self.use(side)
        await self._recorder.ref.ask(Sleep(GAP_NS))
        self._letter = ""
        if words[0][1:2] == "=":
            self._letter, words[0] = words[0][0], words[0][2:]
        step = self._steps.get(words[0])
        arguments = [*words[1:], *[""] * WORDS_MAX][:WORDS_MAX]
        result = await step(arguments) if step is not None else "UNKNOWN STEP"
        self._lines.append(f"{number} {text} -> {result}")
        if not side.entry.has_ended():
            self._lines += side.reporter.changes()
        if words[0] in ("fork", "vmfork") and result == "child" and self._child is not None:
            self._lines += self._child.reporter.changes()

    async def _fork(self, _words: list[str]) -> str:
        return await self._make_child(shares_vm=False)

    async def _vmfork(self, _words: list[str]) -> str:
        return await self._make_child(shares_vm=True)

    async def _make_child(self, *, shares_vm: bool) -> str:
        if self._child is not None:
            return "nested"
        answer: int = await self._ask(Fork(shares_vm=shares_vm))
        if answer < 0:
            return result_text(answer)
        parent, entry = self._parent, self._entry.children[answer]
        await warm(entry)
        await warm(parent.entry)
        places = parent.places
        if not shares_vm:
            places = attrs.evolve(places, variables=dict(places.variables))
        reporter = parent.reporter.for_child(entry, shares_vm=shares_vm)
        self._child, self._child_pid = Side(entry, places, reporter), answer
        return "child"

    async def _wait(self, _words: list[str]) -> str:
        if not self._child_pid:
            return "ECHILD"
        if self._child is not None:
            await self._child.entry.ref.ask(Exit(0))
        waited: Waited = await self._ask(Wait4(self._child_pid))
        status = waited.status
        self._child, self._child_pid = None, 0
        return f"exit {status}" if status >= 0 else f"signal {-status}"

    async def _exit(self, _words: list[str]) -> str:
        await self._ask(Exit(0))
        self._child = None
        return "0"
