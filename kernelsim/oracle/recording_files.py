"""Where a run of a recorded case is written: the layout of the recording itself.

Interface: `write_snapshot` for each snapshot, `write_logs` at the end.
Units: ns; dmesg.txt has seconds since boot.
"""

from collections.abc import Sequence
from pathlib import Path

from kernelsim.errors import OutputError
from kernelsim.machine import Machine
from kernelsim.mm.page.zone_marks import setup_per_zone_lowmem_reserve
from kernelsim.procfs.capture import capture
from kernelsim.procfs.dmesg import render_dmesg
from kernelsim.procfs.tree import render_recording
from kernelsim.report.whole import remove, write_tree, write_whole


def write_snapshot(machine: Machine, out: Path, name: str) -> None:
    """Write a snapshot directory, or nothing.

    The last file of it lists the tunables; reading lowmem_reserve_ratio makes the kernel
    compute the reserves afresh.

    Source: Linux 6.1 mm/page_alloc.c:lowmem_reserve_ratio_sysctl_handler
    """
    try:
        remove(out / name)  # a script may write one name twice
    except OSError as error:
        raise OutputError(out / name, error.strerror or str(error)) from error
    snapshot = capture(machine.kernel, usage=False, pressure=False)
    write_tree(out, render_recording(snapshot), name=name)
    setup_per_zone_lowmem_reserve(machine.kernel.phys)


def write_logs(machine: Machine, out: Path, lines: Sequence[str]) -> None:
    """Write workload.out, of the lines the processes printed, and dmesg.txt."""
    text = "".join(f"{line}\n" for line in lines)
    write_whole(out / "workload.out", lambda path: path.write_bytes(text.encode()))
    log = render_dmesg(machine.kernel.dmesg, boot_ns=machine.spec.boot.uptime_ns)
    write_whole(out / "dmesg.txt", lambda path: path.write_bytes(log.encode()))
