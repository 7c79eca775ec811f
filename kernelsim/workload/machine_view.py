"""What a machine is and has, as its handle tells: nothing here takes time.

Interface: `MachineView`, the base of `MachineHandle`; the values it gives.
Units: pages, ns; as /proc and /sys have them.
"""

import attrs

from kernelsim.config.machine import MachineSpec
from kernelsim.errors import ConfigError
from kernelsim.machine import Machine
from kernelsim.mm.core.mem import (
    Z_FREE,
    Z_MANAGED,
    Z_WATERMARK_BOOST,
    Z_WMARK_HIGH,
    Z_WMARK_LOW,
    Z_WMARK_MIN,
)
from kernelsim.mm.space.kernel_layout import KernelLayout
from kernelsim.procfs.capture import capture
from kernelsim.procfs.dmesg import render_dmesg
from kernelsim.procfs.snapshot import Snapshot
from kernelsim.procfs.tree import WALKING_FILES, render_tree
from kernelsim.procfs.vmstat import vmstat_counters


@attrs.frozen
class LockStatistics:
    """What using a lock, or a server such as a memory controller, cost.

    Attributes:
        nr_holds: Times it was taken.
        nr_waits: Times it had to be waited for.
        wait_ns: Time spent waiting in all.
        give_back_ns: Part of it of those that gave pages back, for a zone->lock.
    """

    nr_holds: int
    nr_waits: int
    wait_ns: int
    give_back_ns: int = 0


@attrs.frozen
class ZoneStatistics:
    """Free pages, watermarks and size of a zone, in pages, as /proc/zoneinfo has them."""

    free: int
    min: int
    low: int
    high: int
    boost: int
    managed: int


class MachineView:
    """One machine, seen from outside.

    Args:
        machine: It.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    @property
    def spec(self) -> MachineSpec:
        """What the machine is made of."""
        return self._machine.spec

    @property
    def now_ns(self) -> int:
        """The virtual time."""
        return self._machine.now_ns

    @property
    def locks(self) -> dict[str, LockStatistics]:
        """How long each lock and each server of the machine was waited for, by its name."""
        return {
            name: LockStatistics(
                account.nr_holds, account.nr_waits, account.wait_ns, account.give_back_ns
            )
            for name, account in self._machine.engine.accounts.items()
        }

    def zone(self, nid: int, name: str) -> ZoneStatistics:
        """Return what a zone has now.

        Args:
            nid: Its node.
            name: As /proc/zoneinfo has it: "DMA32", "Normal".

        Raises:
            ConfigError: The node has no such zone.
        """
        kernel = self._machine.kernel
        types = [kind.value for kind in kernel.phys.zone_types]
        if name not in types or type(nid) is not int or not 0 <= nid < len(kernel.nodes):
            raise ConfigError("zone", (nid, name), f"must be a node and one of {', '.join(types)}")
        row = kernel.mem.zone[nid * len(types) + types.index(name)].tolist()
        fields = (Z_FREE, Z_WMARK_MIN, Z_WMARK_LOW, Z_WMARK_HIGH, Z_WATERMARK_BOOST, Z_MANAGED)
        return ZoneStatistics(*(row[field] for field in fields))

    @property
    def kernel_layout(self) -> KernelLayout:
        """Where the kernel has its direct map, vmalloc, slots of kmap and fixmap."""
        return self._machine.kernel.init_mm.layout

    def sysfs(self, name: str) -> str:
        """Return the text of a file below /sys, such as "devices/system/memory/memory2/state".

        Raises:
            ConfigError: There is none of that name.
        """
        for path, text in render_tree(self.capture()):
            if path == f"sys/{name}":
                return text
        raise ConfigError(
            "sys", name, 'must be a file below /sys, such as "devices/system/node/online"'
        )

    def capture(self, *, usage: bool = False, pressure: bool = False) -> Snapshot:
        """Return what /proc and /sys are rendered from, as values, at this moment.

        Args:
            usage: Whether to walk the page tables for what smaps says of each mapping.
            pressure: Whether to read /proc/pressure. As in Linux, who reads it more often than
                every 4 ms finds that nothing was added.
        """
        return capture(self._machine.kernel, usage=usage, pressure=pressure)

    def proc(self, name: str) -> str:
        """Return the text of a file below /proc, such as "meminfo" or "100/status".

        Raises:
            ConfigError: There is none of that name.
        """
        usage = str(name).rpartition("/")[2] in WALKING_FILES
        pressure = str(name).startswith("pressure/")
        for path, text in render_tree(self.capture(usage=usage, pressure=pressure)):
            if path == f"proc/{name}":
                return text
        raise ConfigError("proc", name, 'must be a file below /proc, such as "meminfo"')

    @property
    def nr_pdflush_threads(self) -> int:
        """Threads that write files back in the classic era, as /proc/sys/vm/nr_pdflush_threads."""
        pool = self._machine.kernel.pdflush
        return 0 if pool is None else pool.threads.nr

    @property
    def vmstat(self) -> dict[str, int]:
        """The counters of /proc/vmstat by name, at this moment: pgfault, pswpout, nr_free_pages."""
        return vmstat_counters(self.capture())

    @property
    def dmesg(self) -> str:
        """The kernel log so far, as dmesg prints it."""
        kernel = self._machine.kernel
        return render_dmesg(kernel.dmesg, boot_ns=kernel.spec.boot.uptime_ns)
