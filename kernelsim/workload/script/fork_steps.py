"""Steps of portable scripts that make children: by fork, clone(CLONE_VM), vfork.

The recorded program tells what it reads in memory that both sides have; here the pid of who stored
there last says it.
Interface: `ForkSteps` a process; `FORK_STEPS` says which method does which step.
Units: bytes; pages.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from kernelsim.units import PAGE_SIZE
from kernelsim.workload.handle import ProcessHandle
from kernelsim.workload.script.proc_files import VERBATIM_FILES, mem_of, proc_text
from kernelsim.workload.script.script_output import mem_line, verbatim_lines
from kernelsim.workload.script.script_steps import Step
from kernelsim.workload.script.step_work import NO_REGION, Outcome, number_of
from kernelsim.workload.syscall import MappedRange

CHILD: Final = "child"
READ_ONLY: Final = "r"  # last word of forkcow
PARENT_BYTE, COPIER_BYTE, CLONE_BYTE = 0x1, 0x55, 0x77  # what the recorded program stores
MARKER: Final = 4711


class ForkSteps:
    """Makes children of one process.

    Args:
        handle: The process.
        regions: Its memory, by name.
        say: Prints lines.
    """

    def __init__(
        self,
        handle: ProcessHandle,
        regions: Mapping[str, MappedRange],
        say: Callable[..., None],
    ) -> None:
        self._handle = handle
        self._regions = regions
        self._say = say

    async def forkcow(self, step: Step) -> Outcome:
        """Fork; the child reads some pages, then stores to them, and says what that took."""
        name, size, word = step.args
        region, length = self._regions.get(str(name)), number_of(size)
        if region is None:
            return NO_REGION

        async def copier(child: ProcessHandle) -> None:
            read = await child.touch(region, length=length)
            self._say(f"proc=child forkcow_read minflt={read.minflt} majflt={read.majflt}")
            minflt, majflt = 0, 0
            if word != READ_ONLY:
                written = await child.touch(region, length=length, write=True)
                minflt, majflt = written.minflt, written.majflt
            nr_pages = length // PAGE_SIZE
            pages = f"bytes={length} pages={nr_pages}"
            self._say(f"proc=child forkcow_write minflt={minflt} majflt={majflt} {pages}")
            await child.start_printing()
            self._say(mem_line(CHILD, mem_of(child.capture())))
            rollup = proc_text("rollup", child.capture(usage=True), 1)
            self._say(*verbatim_lines(CHILD, VERBATIM_FILES["rollup"], rollup))

        child = await self._handle.fork(copier)
        await self._handle.waitpid(child)
        byte = await self._byte(region.address, COPIER_BYTE)
        return Outcome(fields=(("parent_byte0", byte),))

    async def clonevm(self, step: Step) -> Outcome:
        """Have a child in the same memory store to some pages."""
        return await self._in_same_memory(step, vfork=False)

    async def vforkw(self, step: Step) -> Outcome:
        """Do the same while the parent waits."""
        return await self._in_same_memory(step, vfork=True)

    async def _in_same_memory(self, step: Step, *, vfork: bool) -> Outcome:
        region, length = self._regions.get(str(step.args[0])), number_of(step.args[1])
        if region is None:
            return NO_REGION
        parent, minflt = self._handle, 0

        async def writer(child: ProcessHandle) -> None:
            nonlocal minflt
            minflt = (await child.touch(region, length=length, write=True)).minflt

        before = await self._byte(region.address, CLONE_BYTE)
        if vfork:
            child = await parent.vfork(writer)
        else:
            child = await parent.fork(writer, shares_vm=True)
        await parent.waitpid(child)
        after = await self._byte(region.address, CLONE_BYTE)
        fields = (("parent_before", before), ("parent_after", after))
        return Outcome(fields=(*fields, ("marker", MARKER), ("child_minflt", minflt)))

    async def _byte(self, address: int, child_byte: int) -> str:
        """Read a byte of memory; return it as the recorded program would have it."""
        await self._handle.touch(MappedRange(address, 1))
        writer = self._handle.writer_of(address)
        if not writer:
            return hex(0)
        return hex(PARENT_BYTE if writer == self._handle.pid else child_byte)


FORK_STEPS: Final[dict[str, Callable[[ForkSteps, Step], Awaitable[Outcome]]]] = {
    "forkcow": ForkSteps.forkcow,
    "clonevm": ForkSteps.clonevm,
    "vforkw": ForkSteps.vforkw,
}
