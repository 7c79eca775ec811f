"""Where a run of a recorded case is written: the layout of the recording itself.

Interface: a `ScriptRun` collects lines and files of one run; its methods are what steps and
commands of a script share.
Units: ns; dmesg.txt has seconds since boot.
"""

from pathlib import Path

import attrs

from kernelsim.errors import OutputError
from kernelsim.machine import Machine
from kernelsim.mm.page.zone_marks import setup_per_zone_lowmem_reserve
from kernelsim.procfs.capture import capture
from kernelsim.procfs.tree import render_recording
from kernelsim.report.whole import remove, write_tree, write_whole
from kernelsim.sim.locks import WaitQueue
from kernelsim.units import NS_PER_S
from kernelsim.workload.machine import MachineHandle


@attrs.define
class ScriptRun:
    """One run of a script, as its processes share it."""

    machine: Machine
    handle: MachineHandle
    out: Path
    """Directory the run is written to."""
    file: str = "script.txt"
    """The script, for errors."""
    lines: list[str] = attrs.field(factory=list)
    """Of workload.out so far."""
    waiting: list[tuple[int, str]] = attrs.field(factory=list)
    """Lines and steps that only another process can end, and that have not ended."""
    _files: list[str] = attrs.field(factory=list, init=False)
    _made: WaitQueue | None = attrs.field(default=None, init=False)

    def make_file(self, path: str) -> None:
        """Make a file, and wake those who wait for it."""
        self._files.append(path)
        if self._made is not None:
            self._made.wake_all()

    async def wait_for_file(self, path: str) -> None:
        """Wait until a file is there."""
        if self._made is None:
            self._made = self.machine.engine.wait_queue("files of the script")
        while path not in self._files:
            await self._made.wait()

    def write_snapshot(self, name: str) -> None:
        """Write a snapshot directory, or nothing.

        The last file of it lists the tunables; reading lowmem_reserve_ratio makes the kernel
        compute the reserves afresh.

        Source: Linux 6.1 mm/page_alloc.c:lowmem_reserve_ratio_sysctl_handler
        """
        try:
            remove(self.out / name)  # a script may write one name twice
        except OSError as error:
            raise OutputError(self.out / name, error.strerror or str(error)) from error
        write_tree(self.out, render_recording(capture(self.machine.kernel, usage=False)), name=name)
        setup_per_zone_lowmem_reserve(self.machine.kernel.phys)

    def write_logs(self) -> None:
        """Write workload.out and dmesg.txt."""
        text = "".join(f"{line}\n" for line in self.lines)
        write_whole(self.out / "workload.out", lambda path: path.write_bytes(text.encode()))
        boot_ns = self.machine.spec.boot.uptime_ns
        log = "".join(
            f"[{(boot_ns + at_ns) // NS_PER_S:5d}.{(boot_ns + at_ns) % NS_PER_S // 1000:06d}] "
            f"{line}\n"
            for at_ns, line in self.machine.kernel.dmesg
        )
        write_whole(self.out / "dmesg.txt", lambda path: path.write_bytes(log.encode()))
