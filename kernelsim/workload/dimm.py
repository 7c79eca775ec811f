"""Putting DIMMs into a running machine, and taking them out.

Interface: `Dimms`, what a machine's handle has of them.
Units: bytes.
"""

import attrs

from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.hotplug.memory_hotplug import has_memory
from kernelsim.actors.messages.acpi import AddDimm, RemoveDimm
from kernelsim.config.disks import is_one_line
from kernelsim.config.memory_model import MODELS
from kernelsim.errors import ConfigError, SyscallError
from kernelsim.units import PAGE_SIZE, format_size, parse_size


@attrs.define
class Dimms:
    """The DIMMs that were put into a machine since it booted.

    Attributes:
        kernel: The machine.
        places: Of each DIMM its first frame and its size in pages, by name.
    """

    kernel: Kernel
    places: dict[str, tuple[int, int]] = attrs.field(factory=dict)

    async def add(
        self, name: str, size: int | str, nid: int = 0, *, addr: int | str | None = None
    ) -> None:
        """Put a DIMM in; its memory blocks are offline, unless auto_online_blocks says otherwise.

        Args:
            name: What it is called from now on.
            size: A multiple of the size of a memory block.
            nid: Its node.
            addr: Its physical address, a multiple of the size of a memory block; None for the
                lowest room there is.

        Raises:
            ConfigError: There is no room for it, or it has no name, size or node.
            SyscallError: ENOMEM: the kernel has no memory for its struct pages. EEXIST: it has
                memory there already.
        """
        if not (isinstance(name, str) and is_one_line(name)):
            raise ConfigError("dimm", name, "must be a name of one line")
        size_bytes = parse_size(size, key="dimm")
        block_bytes = self.kernel.phys.memory_blocks.size_bytes
        window = self.kernel.spec.dimm_window
        if window[0] == window[1]:
            raise ConfigError("dimm", name, "the machine has no free slot: its maxmem is too small")
        if size_bytes <= 0 or size_bytes % block_bytes:
            rule = f"must be a multiple of a memory block, {format_size(block_bytes)}"
            raise ConfigError("dimm", size, rule)
        if name in self.places:
            raise ConfigError("dimm", name, "is in the machine already")
        if type(nid) is not int or not 0 <= nid < len(self.kernel.nodes):
            raise ConfigError("dimm node", nid, f"must be 0 to {len(self.kernel.nodes) - 1}")
        last = len(self.kernel.nodes) - 1
        if MODELS[self.kernel.spec.memory_model].maps_dimms_at_boot and nid != last:
            rule = f"{self.kernel.spec.memory_model} has a map for DIMMs on node {last} alone"
            raise ConfigError("dimm node", nid, rule)
        nr_pages = size_bytes // PAGE_SIZE
        start = self._place(window, nr_pages) if addr is None else self._asked(addr, nr_pages)
        if start is None:
            rule = f"finds no room for {format_size(size_bytes)} below the machine's maxmem"
            raise ConfigError("dimm", name, rule)
        self.places[name] = start, nr_pages
        error = await self.kernel.acpi_hotplug.ask(AddDimm(name, start, nr_pages, nid))
        if error:
            del self.places[name]
            raise SyscallError(-error, "add_memory")

    async def remove(self, name: str) -> None:
        """Ask a DIMM to leave: its blocks go offline first.

        Raises:
            ConfigError: There is no such DIMM.
            SyscallError: EBUSY: a page of it cannot be moved away; it stays. ENODEV: another one
                who asked has removed it meanwhile.
        """
        if not isinstance(name, str) or name not in self.places:
            raise ConfigError("dimm", name, "is not in the machine")
        error = await self.kernel.acpi_hotplug.ask(RemoveDimm(name))
        if error:
            raise SyscallError(-error, "remove_memory")
        self.places.pop(name, None)

    def _asked(self, addr: int | str, nr_pages: int) -> int:
        """Return the first frame of an address; where memory is already the kernel refuses it."""
        block_bytes = self.kernel.phys.memory_blocks.size_bytes
        addr_bytes = parse_size(addr, key="dimm addr")
        if addr_bytes % block_bytes:
            rule = f"must be a multiple of a memory block, {format_size(block_bytes)}"
            raise ConfigError("dimm addr", addr, rule)
        start, (low, high) = addr_bytes // PAGE_SIZE, self.kernel.spec.dimm_window
        is_taken = has_memory(self.kernel, start, start + nr_pages)
        if not is_taken and not low <= start <= start + nr_pages <= high:
            ends = f"{low * PAGE_SIZE:#x} and {high * PAGE_SIZE:#x}"
            rule = f"{format_size(nr_pages * PAGE_SIZE)} from there must lie between {ends}"
            raise ConfigError("dimm addr", addr, rule)
        return start

    def _place(self, window: tuple[int, int], nr_pages: int) -> int | None:
        """Return the first frame of the lowest room for so many pages; None for no room."""
        start = window[0]
        for first, taken in sorted(self.places.values()):
            if start + nr_pages <= first:
                break
            start = max(start, first + taken)
        return start if start + nr_pages <= window[1] else None
