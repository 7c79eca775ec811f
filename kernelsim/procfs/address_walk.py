"""What becomes of an address: canonical or not, its region, the walk, and the frame or the fault.

Interface: `explain_layout` for an architecture, `explain_address` for a process of a machine; both
yield lines.
Units: bytes for addresses.
"""

from collections.abc import Iterator
from typing import Final

from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.core.process_table import ProcessEntry
from kernelsim.config.zones import zone_name
from kernelsim.hw.paging import PagingMode
from kernelsim.mm.core.mem import zone_of
from kernelsim.mm.space.address_layout import ADDRESS_LAYOUTS
from kernelsim.mm.space.address_walk import Entry, flag_names, walk_kernel, walk_process
from kernelsim.mm.space.kernel_layout import KernelLayout
from kernelsim.mm.space.mmap import VmArea
from kernelsim.mm.space.pgtable import (
    _PAGE_PRESENT,
    _PAGE_USER,
    is_migration_pte,
    is_swap_pte,
    pte_pfn,
    pte_swap_slot,
)
from kernelsim.procfs.capture_process import capture_vma
from kernelsim.units import PAGE_SHIFT, PAGE_SIZE

SIMULATED: Final = ("direct map", "vmalloc", "pkmap", "guard hole")  # all that is there is known
FOR_USER: Final = _PAGE_PRESENT | _PAGE_USER  # what an entry has that lets a program through


def explain_layout(arch: str, layout: KernelLayout, address: int) -> Iterator[str]:
    """Say what the processor makes of an address, and in which region it lies."""
    mode = ADDRESS_LAYOUTS[arch].paging
    yield f"address   {address:#x} on {arch}"
    if not mode.takes(address):
        top = mode.address_bits - 1
        why = f"bits 63 to {top} are not all alike" if mode.is_canonical else "it has too many bits"
        yield f"canonical no, {why}: #GP, a program gets SIGSEGV"
        return
    half = "the kernel's half" if is_kernel(mode, layout, address) else "the user's half"
    yield f"canonical yes, {half}"
    if is_kernel(mode, layout, address):
        region = layout.region_of(address)
        where = "unused" if region is None else f"{region.name}, {region.start:#x}-{region.end:#x}"
        yield f"region    {where}"


def is_kernel(mode: PagingMode, layout: KernelLayout, address: int) -> bool:
    """Tell whether an address is in the half of the kernel, or above what a process may map."""
    if mode.is_canonical:
        return bool(address >> mode.address_bits - 1 & 1)
    return address >= layout.task_size


def explain_indices(arch: str, address: int) -> Iterator[str]:
    """Name the entries of the walk by their indices, where there is no machine to look at."""
    mode = ADDRESS_LAYOUTS[arch].paging
    if mode.takes(address):
        for table, index in zip(mode.tables, mode.indices(address), strict=True):
            yield f"{table:9} index {index}"
        yield f"offset    {address & PAGE_SIZE - 1:#x}"


def explain_address(kernel: Kernel, process: ProcessEntry, address: int) -> Iterator[str]:
    """Walk to an address as the processor would for a process, and say how that ends."""
    arch, init_mm = kernel.spec.arch, kernel.init_mm
    mode, layout = ADDRESS_LAYOUTS[arch].paging, init_mm.layout
    yield f"process   {process.comm}, pid {process.pid}"
    yield from explain_layout(arch, layout, address)
    if not mode.takes(address):
        return
    if is_kernel(mode, layout, address):
        yield from map(_line, walk_kernel(init_mm, mode, address))
        yield from _kernel_outcome(kernel, address)
        return
    vma = process.mm.map.find_vma(address)
    vma = vma if vma is not None and vma.start <= address else None
    if kernel.spec.era.maple_tree:
        path = process.mm.map.tree.walk(address)
        slots = [f"slot {at} of {len(node.slots)}" for node, at in path]
        yield f"maple     {', '.join(slots) or 'no node'}"
    yield f"mapping   {_mapping(kernel, process, vma)}"
    entries = walk_process(*kernel.space, process.mm.number, mode, address)
    yield from map(_line, entries)
    last = entries[-1].value or 0
    pte = last if len(entries) == len(mode.tables) else 0
    if pte & FOR_USER == FOR_USER:
        yield _frame(kernel, pte_pfn(pte), address)
    else:
        yield f"outcome   {_fault(pte, vma)}"


def _kernel_outcome(kernel: Kernel, address: int) -> Iterator[str]:
    """Say what the kernel finds at an address of its own, and what a program gets."""
    init_mm = kernel.init_mm
    region, pfn = init_mm.layout.region_of(address), init_mm.frame_of(address)
    if pfn is not None:
        yield _frame(kernel, pfn, address)
    elif region is not None and region.name not in SIMULATED:
        yield "outcome   the kernel has things there that are not simulated"
    else:
        yield "outcome   nothing is mapped there"
    yield "program   #PF, the entries are the kernel's: SIGSEGV"


def _line(entry: Entry) -> str:
    head = f"{entry.table:9} index {entry.index:4}"
    if entry.address is None:
        return f"{head}  of a table made at boot"
    if entry.value is None:
        return f"{head}  entry at {entry.address:#x}"
    bits = f"{entry.value & (1 << 64) - 1:#x}"
    return f"{head}  entry at {entry.address:#x}: {bits} {flag_names(entry.value) or 'empty'}"


def _frame(kernel: Kernel, pfn: int, address: int) -> str:
    zone, types = zone_of(kernel.mem, pfn), kernel.phys.zone_types
    place = "no zone, as the firmware has it"
    if zone >= 0:
        place = zone_name(zone // len(types), types[zone % len(types)])
    name = ", the shared zero page" if pfn == kernel.zero_pfn else ""
    physical = (pfn << PAGE_SHIFT) + (address & PAGE_SIZE - 1)
    return f"frame     {pfn:#x} of {place}{name}; physical address {physical:#x}"


def _mapping(kernel: Kernel, process: ProcessEntry, vma: VmArea | None) -> str:
    if vma is None:
        return "none"
    shown = capture_vma(kernel, process, vma, None)
    return f"{shown.start:#x}-{shown.end:#x} {shown.flags} {shown.name}".rstrip()


def _fault(entry: int, vma: VmArea | None) -> str:
    """Say what a load does from a page that its entry does not let a program reach."""
    if vma is None:
        return "#PF, no mapping: SIGSEGV, unless the stack grows there"
    if not vma.permits(write=False):  # asked before the fault looks at the entry
        return "#PF, the mapping forbids it: SIGSEGV"
    if is_swap_pte(entry):
        return f"#PF, the page is in slot {pte_swap_slot(entry)} of swap: a major fault reads it"
    if is_migration_pte(entry):
        return "#PF, the page is being moved: the access waits for its new frame"
    return "#PF, nothing is there yet: the fault finds or makes the page"
