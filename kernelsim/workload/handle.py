"""The handle of a process: how workloads make it do things.

Each method asks the process's actor for one operation and returns when it is done, in virtual
time. A kernel outcome is a value, or an exception the workload may catch: the result of a touch
names the signal that killed the process meanwhile; a system call that fails raises `SyscallError`
with its errno, as a C library would set it; any other call that the process does not survive, and
every call after its end, raises `ProcessEndedError` with its status. Only `wait` still answers.
Units: bytes (or text such as "64M"), ns (or text such as "5ms").
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.core.process_table import ProcessEntry
from kernelsim.actors.core.signal import FATAL_SIGNALS, SIGKILL, send_signal
from kernelsim.actors.process.calls.access import Touch, TouchPages, TouchResult
from kernelsim.actors.process.calls.executing import Execve
from kernelsim.actors.process.calls.forking import Fork, Wait4, Waited
from kernelsim.actors.process.calls.life import Exit, Sleep, StartImage, StartPrinting
from kernelsim.actors.process.calls.looking import Report
from kernelsim.actors.process.calls.table import CALLS
from kernelsim.errors import ConfigError, SyscallError, WorkloadError
from kernelsim.mm.space.static_program import DEFAULT_PROGRAM
from kernelsim.units import PAGE_SIZE, parse_duration, parse_size
from kernelsim.workload.arguments import (
    accesses,
    cpus_of,
    oom_score_adj,
    process_name,
    whole_number,
)
from kernelsim.workload.exe import elf_program
from kernelsim.workload.file_calls import FileCalls
from kernelsim.workload.heap import Heap
from kernelsim.workload.panic import until_panic
from kernelsim.workload.process_system import ProcessSystem
from kernelsim.workload.process_view import ProcessView
from kernelsim.workload.program import Program, ProgramActor, require_program
from kernelsim.workload.syscall import (
    WORD_MAX,
    MappedRange,
    meaning_of,
    require_mapping,
    value_of,
)

UID_MAX: Final = (1 << 32) - 2  # the last number means "leave it"


class ProcessHandle(ProcessView, FileCalls):
    """One process, seen from its program.

    Args:
        kernel: The machine.
        process: What the process table holds of it.
        started: Where the handles of its children are listed, too.
    """

    def __init__(
        self, kernel: Kernel, process: ProcessEntry, started: "list[ProcessHandle] | None" = None
    ) -> None:
        super().__init__(kernel, process)
        self._started = [] if started is None else started
        self.result: object = None

    @property
    def name(self) -> str:
        """Its comm, as /proc shows it; may be set, as by prctl(PR_SET_NAME)."""
        return self._process.comm

    @name.setter
    def name(self, name: str) -> None:
        self._process.comm = process_name(name)

    @property
    def uid(self) -> int:
        """Its user; may be set. The privileges of root come and go with 0."""
        return self._process.uid

    @uid.setter
    def uid(self, uid: int) -> None:
        process = self._process
        process.uid = whole_number("uid", uid, 0, UID_MAX)
        process.mm.set_capabilities(has_them=uid == 0)

    @property
    def oom_score_adj(self) -> int:
        """What the OOM killer adds to its score, -1000 … 1000; may be set.

        Below what root has set only root may set it; else that raises `SyscallError` (EACCES).
        """
        return self._process.oom_score_adj

    @oom_score_adj.setter
    def oom_score_adj(self, value: int) -> None:
        error = self._process.set_oom_score_adj(oom_score_adj(value))
        if error:
            raise SyscallError(-error, "write of oom_score_adj")

    async def start(self, program: Program | None) -> None:
        """Wait until the process runs, and start its program if it has one; called by `spawn`."""
        if program is not None:
            require_program(program)
        if self._process.has_ended():  # a child that was killed before its parent heard of it
            return
        with until_panic(self._kernel):
            await self._process.ref.ask(Sleep(0))
        if program is not None:
            self._kernel.engine.spawn(ProgramActor(self, program))

    async def start_image(self) -> None:
        """Do what a C program does before its main: touch its image, ask for a heap."""
        await self._ask(StartImage())

    async def start_printing(self) -> None:
        """Do what a C program does when it first prints: touch the buffers of its output."""
        await self._ask(StartPrinting())

    async def report(self, nr_read: int, nr_lines: int, nr_printed: int) -> None:
        """Read so many bytes of /proc, and print lines of so many bytes."""
        await self._ask(Report(nr_read, nr_lines, nr_printed))

    async def syscall(self, name: str, *arguments: object, **fields: object) -> Any:  # noqa: ANN401 - by the call
        """Make any call of the table of system calls by its name.

        Args:
            name: Such as "munmap".
            arguments: In the order of the manual: a mapping where it says address and length, a
                size, a word such as "dontneed".
            fields: Further ones by name, where the call has them.

        Returns:
            The mapping that was made, a number, or None, as the call says.

        Raises:
            SyscallError: The call failed, with its errno.
            WorkloadError, ConfigError: There is no such call, or it takes other arguments.
        """
        call = CALLS.by_name.get(name)
        if call is None:
            raise ConfigError("syscall", name, f"must be one of {', '.join(sorted(CALLS.by_name))}")
        value = value_of(call, arguments, fields)
        return meaning_of(call, value, await self._ask(value))

    async def mmap(
        self, length: int | str, *, address: int = 0, offset: int | str = 0, **how: object
    ) -> MappedRange:
        """Map anonymous private memory; nothing is allocated until it is touched, or at once.

        Args:
            length: Bytes.
            address: It goes there (MAP_FIXED), and what is there goes; 0 for anywhere.
            offset: First byte of a file.
            how: `noreserve`, `populate`, `locked`; for a file its `fd`, `shared` for stores that
                go to the file, and `prot`, PROT_* bits.
        """
        fields = {"offset": parse_size(offset, key="offset"), **how}
        fields["address"] = whole_number("address", address, 0)
        size = parse_size(length, key="length")
        mapping: MappedRange = await self.syscall("mmap", size, **fields)
        return mapping

    def stack(self, length: int | str) -> MappedRange:
        """Return the top of its stack; a touch below what is mapped makes the stack grow.

        The stack grows to its limit of 8 MiB, and stops 1 MiB above another mapping; a touch
        further down is a SIGSEGV.
        """
        size = parse_size(length, key="length")
        return MappedRange(self._process.mm.stack_top - size, size)

    async def munmap(self, mapping: MappedRange) -> None:
        """Unmap a mapping and free its pages."""
        await self.syscall("munmap", mapping)

    async def madvise_dontneed(self, mapping: MappedRange) -> None:
        """Free the pages of a mapping; it reads as zero afterwards."""
        require_mapping("madvise_dontneed", mapping)
        await self.syscall("madvise", mapping, "dontneed")

    async def brk(self, increment: int | str) -> int:
        """Grow the heap, or shrink it by a negative increment; return its new end."""
        end: int = await self.syscall("brk", increment)
        return end

    def malloc(self, allocator: str = "ptmalloc2") -> Heap:
        """Return a heap that an allocator keeps for its program; it has asked for nothing yet.

        Raises:
            ConfigError: There is no allocator of that name.
        """
        system = ProcessSystem(self._kernel, self._process, self._ask)
        word_bits = 32 if self.task_size < 1 << 32 else 64
        return Heap(allocator, system, (1 << word_bits - 1) - 1)

    async def touch(
        self,
        mapping: MappedRange,
        *,
        write: bool = False,
        offset: int | str = 0,
        length: int | str | None = None,
        stride: int | str = PAGE_SIZE,
        passes: int = 1,
    ) -> TouchResult:
        """Access a range of a mapping, one byte each stride.

        It starts at the offset and goes to the mapping's end unless a length is given; one that
        reaches further than the mapping is a bug of the program, which may cost it its life.

        Raises:
            WorkloadError: The range is empty because it starts at the mapping's end or later.
        """
        require_mapping("touch", mapping)
        start = parse_size(offset, key="offset")
        size = mapping.length - start if length is None else parse_size(length, key="length")
        if length is None and start >= mapping.length:
            raise WorkloadError(
                f"touch starts at offset {offset!r}, the mapping has {mapping.length} bytes"
            )
        passes = whole_number("passes", passes, 0)
        step = parse_size(stride, key="stride")
        if step < 1:
            raise WorkloadError(f"touch wants a stride of at least 1 byte, not {stride!r}")
        address = (mapping.address + start) % (WORD_MAX + 1)  # as a program adds them
        touch = Touch(address, size, write, step, passes)
        result: TouchResult = await self._ask(touch)
        return result

    async def access(self, address: int, *, write: bool = False) -> TouchResult:
        """Access one byte; the result's `steps` are those of its way to memory and back.

        Their addresses are those of the entries read, and of the page that has the byte.
        """
        where = whole_number("address", address, 0, WORD_MAX)
        result: TouchResult = await self._ask(Touch(where, 1, write, told=True))
        return result

    async def touch_pages(self, vpns: Any, writes: Any) -> TouchResult:  # noqa: ANN401 - arrays
        """Access pages in a given order: virtual page numbers, and 1 for each store."""
        message = TouchPages(*accesses(vpns, writes))
        result: TouchResult = await self._ask(message)
        return result

    async def fork(
        self, program: Program | None = None, *, shares_vm: bool = False
    ) -> "ProcessHandle":
        """Make a child that has a copy of the memory, page by page when either side writes.

        Args:
            program: What the child does; None for one that does what is asked through its handle.
            shares_vm: It has the same memory, not a copy (clone with CLONE_VM).

        Returns:
            The handle of the child, when it runs.

        Raises:
            SyscallError: ENOMEM: no memory for its page tables, or no promise of what it may write.
        """
        return await self._make_child(Fork(shares_vm), program)

    async def vfork(self, program: Program) -> "ProcessHandle":
        """Make a child that borrows the memory; return its handle when it gives it back.

        It does at its end, and when it runs a program of its own (`exec`). The parent does nothing
        before that.
        """
        child = await self._make_child(Fork(shares_vm=True, vfork=True), program)
        await self._ask(Sleep(0))
        return child

    async def _make_child(self, value: Fork, program: Program | None) -> "ProcessHandle":
        if program is not None:
            require_program(program)
        pid = meaning_of(CALLS.by_value[Fork], value, await self._ask(value))
        entry = self._kernel.processes.get(pid) or self._process.children.get(pid)
        if entry is None:  # both were killed at once
            raise self._ended()
        child = ProcessHandle(self._kernel, entry, self._started)
        self._started.append(child)
        await child.start(program)
        return child

    async def exec(self, name: str, exe: str | Path | bytes | None = None) -> None:
        """Run another program in its place, one from a file as `spawn` has it; with a new name."""
        comm = process_name(name)
        program = DEFAULT_PROGRAM if exe is None else elf_program(self._kernel, comm, exe)
        await self._ask(Execve(comm, program))

    async def waitpid(self, child: "ProcessHandle") -> int:
        """Sleep until a child has ended; return its status. Nothing is left of it then.

        Raises:
            SyscallError: ECHILD: it is no child of this process, or was waited for already.
        """
        if not isinstance(child, ProcessHandle):
            raise WorkloadError(f"waitpid wants the handle of a child, not {child!r}")
        value = Wait4(child.pid)
        waited: Waited = meaning_of(CALLS.by_value[Wait4], value, await self._ask(value))
        return waited.status

    async def sleep(self, duration: int | str) -> None:
        """Sleep off the CPU."""
        await self._ask(Sleep(parse_duration(duration)))

    async def exit(self, status: int = 0) -> None:
        """End the process; its memory is free when this returns."""
        await self._ask(Exit(whole_number("status", status, 0, 255)))

    async def kill(self, signal: int = SIGKILL) -> None:
        """Send a signal that ends the process, at the next boundary of what it does.

        Its number is the process's status with a minus; one that has ended gets none.

        Raises:
            ConfigError: It is no signal, or none that ends a process.
        """
        if type(signal) is not int or signal not in FATAL_SIGNALS:
            raise ConfigError(
                "signal", signal, "must be the number of a signal that ends a process"
            )
        send_signal(self._kernel, self._process, signal)

    async def set_affinity(self, cpus: int | Iterable[int]) -> None:
        """Say on which CPUs it may run, in the order it prefers them; it moves when it next waits.

        Raises:
            ConfigError: There is no such CPU, or none is named.
        """
        self._process.task.cpus = tuple(cpus_of(self._kernel, "cpus", cpus))

    async def wait(self) -> int:
        """Wait until the process has ended; return its status."""
        with until_panic(self._kernel):
            while self._process.exit_status is None or self.pid in self._kernel.processes:
                await self._process.exited.wait()
        return self._process.exit_status

    async def _ask(self, operation: object) -> Any:  # noqa: ANN401 - depends on the operation
        if self._process.has_ended():
            raise self._ended()
        with until_panic(self._kernel):
            answer = await self._process.ref.ask(operation)
        if answer is None and self._process.has_ended():
            if isinstance(operation, Touch | TouchPages):
                return TouchResult(signal=-(self.exit_status or 0))
            if not isinstance(operation, Exit):
                raise self._ended()
        return answer
