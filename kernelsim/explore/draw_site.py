"""Where a drawn process is to run, and how steps spell sizes.

Interface: `Site`, `size`. Units: pages; `size` is a text such as "12K".
"""

import attrs

from kernelsim.units import PAGE_SIZE


@attrs.frozen(kw_only=True)
class Site:
    """Where a process is to run.

    Attributes:
        nr_cpus: CPUs of the machine.
        with_memory: Nodes with memory.
        is_classic: Its era.
        memory_pages: Of the machine.
        swap_pages: Of the machine.
        files: Files there are at boot.
        pages: About how many the process shall use.
    """

    nr_cpus: int
    with_memory: tuple[int, ...]
    is_classic: bool
    memory_pages: int
    swap_pages: int
    files: tuple[str, ...] = ()
    pages: int = 0


def size(pages: int) -> str:
    """Write a number of pages as a size."""
    return f"{max(1, pages) * PAGE_SIZE // 1024}K"
