"""What a process has and is, as its handle tells without asking it: nothing here takes time.

Interface: `ProcessView`, the base of `ProcessHandle`.
Units: bytes for addresses; as /proc has them.
"""

from typing import Final

from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.core.process_table import ProcessEntry
from kernelsim.errors import ConfigError, ProcessEndedError
from kernelsim.procfs.address_walk import explain_address
from kernelsim.procfs.capture import capture
from kernelsim.procfs.capture_process import capture_process, capture_zombie
from kernelsim.procfs.snapshot import ProcessSnapshot
from kernelsim.procfs.tree import WALKING_FILES, process_files
from kernelsim.workload.arguments import whole_number
from kernelsim.workload.exe import section_of
from kernelsim.workload.process_statistics import (
    ProcessStatistics,
    process_statistics,
    writer_of,
)
from kernelsim.workload.syscall import MappedRange

ADDRESS_MAX: Final = (1 << 64) - 1


class ProcessView:
    """One process, seen from outside.

    Args:
        kernel: The machine.
        process: What the process table holds of it.
    """

    def __init__(self, kernel: Kernel, process: ProcessEntry) -> None:
        self._kernel = kernel
        self._process = process
        self.pid = process.pid

    @property
    def task_size(self) -> int:
        """The first address above those that it may map."""
        return self._process.mm.map.task_size

    @property
    def exit_status(self) -> int | None:
        """Status it ended with, minus a signal number; None while it lives."""
        return self._process.exit_status

    @property
    def stats(self) -> ProcessStatistics:
        """What it has done and has; pages are 0 after its end."""
        return process_statistics(self._kernel, self._process)

    def section(self, name: str) -> MappedRange:
        """Return where a section of its program from a file lies, such as ".text" or ".bss".

        Raises:
            ConfigError: There is none of that name.
        """
        return section_of(self._process, name)

    def writer_of(self, address: int) -> int:
        """Return the pid of who has stored last to a page that is mapped; 0 for nobody."""
        return writer_of(self._kernel, self._process, address)

    def capture(self, *, usage: bool = False) -> ProcessSnapshot:
        """Return what its /proc directory is rendered from, as values, at this moment.

        Args:
            usage: Whether to walk the page tables for what smaps says of each mapping.

        Raises:
            ProcessEndedError: It has no directory any more.
        """
        if self._kernel.zombies.get(self.pid) is self._process:
            return capture_zombie(self._kernel, self._process)
        if self.pid not in self._kernel.processes:
            raise self._ended()
        return capture_process(self._kernel, self._process, usage=usage)

    def proc(self, name: str) -> str:
        """Return the text of a file of its /proc directory, such as "status" or "maps".

        Raises:
            ConfigError: There is none of that name.
            ProcessEndedError: It has no directory any more.
        """
        usage = name in WALKING_FILES
        machine = capture(self._kernel, usage=False, pressure=False)
        files = dict(process_files(machine, self.capture(usage=usage)))
        if name not in files:
            raise ConfigError("proc", name, f"must be one of {', '.join(files)}")
        return files[name]

    def explain(self, address: int) -> str:
        """Return the walk to an address in this process: region, entries, frame or fault."""
        if self.pid not in self._kernel.processes:
            raise self._ended()
        number = whole_number("address", address, 0, ADDRESS_MAX)
        return "".join(f"{line}\n" for line in explain_address(self._kernel, self._process, number))

    def _ended(self) -> ProcessEndedError:
        return ProcessEndedError(self._process.comm, self.pid, self._process.exit_status or 0)
