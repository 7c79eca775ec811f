"""Print where a machine has memory, and what each memory model keeps to describe it.

Interface: `print_memory`; `page_size_of` reads the option --page-size.
Units: bytes, physical addresses.
"""

from typing import Final

from rich.console import Console
from rich.table import Table

from kernelsim.config.machine import MachineSpec
from kernelsim.config.memory_model import MODELS, PAGES_PER_SECTION
from kernelsim.errors import ConfigError
from kernelsim.units import KIB, PAGE_SIZE, format_size, parse_size

PAGE_SIZES: Final = tuple(size * KIB for size in (4, 16, 64))  # what kernels are built with


def page_size_of(text: str | int) -> int:
    """Return the bytes of a page; raises ConfigError unless kernels have pages of this size."""
    page_size = parse_size(text, key="--page-size")
    if page_size not in PAGE_SIZES:
        sizes = ", ".join(f"{size // KIB}K" for size in PAGE_SIZES)
        raise ConfigError("--page-size", text, f"must be one of {sizes}")
    return page_size


def print_memory(spec: MachineSpec, *, page_size: int) -> None:
    """Print the map of physical memory with its holes, and the three models' maps of it.

    Args:
        spec: the machine.
        page_size: bytes of a page for the models; the machine itself has PAGE_SIZE.
    """
    console = Console(highlight=False, width=200)
    memory = Table("physical memory", "size", "", box=None, pad_edge=False)
    memory.columns[1].justify = "right"
    last = 0
    for first, end, what in _parts(spec):
        if last < first:
            cost = (first - last) * spec.era.struct_page_bytes
            what_it_costs = f"hole: {first - last} pages, {cost} bytes of flatmem"
            memory.add_row(_addresses(last, first), _size(first - last), what_it_costs)
        memory.add_row(_addresses(first, end), _size(end - first), what)
        last = end
    console.print(memory)
    models = Table("memory model", "maps", "struct pages", "take", "for holes", "hotplug", box=None)
    for name, rules in MODELS.items():
        maps = spec.mem_map(name, page_size=page_size)
        costs = (format_size(maps.mem_map_bytes), format_size(maps.hole_bytes))
        mine = f"{name} *" if name == spec.memory_model else name
        sizes = (str(len(maps.maps)), str(maps.nr_struct_pages), *costs)
        models.add_row(mine, *sizes, rules.hotplug)
    console.print(models)
    section = format_size(PAGES_PER_SECTION * page_size)
    print(
        f"* is this machine's; {spec.era.struct_page_bytes} bytes a struct page, "
        f"pages of {page_size // KIB} KiB, sections of {section}"
    )


def _parts(spec: MachineSpec) -> list[tuple[int, int, str]]:
    """Return the memory in rising order, cut where a zone ends: first pfn, pfn behind, whose."""
    return sorted(
        (max(low, zone.start_pfn), min(high, zone.end_pfn), f"node {node.nid} {zone.type.value}")
        for node in spec.nodes
        for zone in node.zones
        for low, high in node.struct_page_ranges
        if max(low, zone.start_pfn) < min(high, zone.end_pfn)
    )


def _addresses(first: int, end: int) -> str:
    """Return the physical addresses of frames as the kernel's memory map prints them."""
    return f"{first * PAGE_SIZE:#018x}-{end * PAGE_SIZE - 1:#018x}"


def _size(nr_pages: int) -> str:
    return format_size(nr_pages * PAGE_SIZE)
