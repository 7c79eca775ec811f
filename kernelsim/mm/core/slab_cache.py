"""What slab caches there are, and the arrays that their slabs are noted in.

Linux: mm/slub.c:calculate_sizes, :calculate_order, mm/slab.h (6.1).
Interface: `KMEM_CACHES`, a column each of `Slabs.cache` and `Slabs.row`, `new_slabs` at boot.
Units: objects, slabs, pages; bytes of sizes.
"""

from collections.abc import Callable
from typing import Final

import attrs
import numpy as np

from kernelsim.mm.core.mem import I64_2D, Slabs
from kernelsim.units import PAGE_SIZE


@attrs.frozen
class KmemCache:
    """A cache of objects of one size.

    Attributes:
        name: As /proc/slabinfo prints it.
        size: Of an object, bytes.
        is_reclaimable: SLAB_RECLAIM_ACCOUNT, its pages count as reclaimable.
        waits: Its objects are asked for with GFP_KERNEL: there is a page, or the task sleeps.
        size_32: Of an object where a word has 32 bits, if it is another.
    """

    name: str
    size: int
    is_reclaimable: bool
    waits: bool = False
    size_32: int = 0


# Sizes of x86_64 with the options of distributions: struct xa_node of lib/radix-tree.c, struct
# buffer_head of fs/buffer.c; struct bio with four inline vectors, 184 aligned to a cache line, of
# block/bio.c. Those of processes have the sizes in the type information (BTF) of Debian's
# 6.1.0-50-amd64, aligned to cache lines: struct task_struct of a CPU with AVX, whose 4096 bytes for
# registers are 832 (fpu__init_task_struct_size); struct mm_struct with the bits of 64 CPUs at most
# (mm_cachep_init); struct sighand_struct with its free pointer (SLAB_TYPESAFE_BY_RCU).
# Of i386, added up from struct xa_node of include/linux/xarray.h (64 pointers, 3 bitmaps and 20
# bytes, aligned to 8) and struct buffer_head of include/linux/buffer_head.h.
# Differs from Linux: Other objects of i386 are as large as those of x86_64.
KMEM_CACHES: Final = (
    KmemCache("radix_tree_node", 576, True, size_32=304),
    KmemCache("buffer_head", 104, True, size_32=56),
    KmemCache("bio-184", 192, False),
    KmemCache("task_struct", 9792 - 4096 + 832, False, waits=True),
    KmemCache("cred_jar", 192, False, waits=True),
    KmemCache("files_cache", 704, False, waits=True),
    KmemCache("fs_cache", 64, False, waits=True),
    KmemCache("sighand_cache", 2112, False, waits=True),
    KmemCache("signal_cache", 1152, False, waits=True),
    KmemCache("pid", 128, False, waits=True),
    KmemCache("mm_struct", 1152, False, waits=True),
    KmemCache("vm_area_struct", 152, False, waits=True),
    KmemCache("maple_node", 256, False, waits=True),  # lib/maple_tree.c:maple_tree_init
)
RADIX_TREE_NODE: Final = 0  # places in KMEM_CACHES
BUFFER_HEAD: Final = 1
BIO: Final = 2
TASK_STRUCT: Final = 3
CRED_JAR: Final = 4
FILES_CACHE: Final = 5
FS_CACHE: Final = 6
SIGHAND_CACHE: Final = 7
SIGNAL_CACHE: Final = 8
PID: Final = 9
MM_STRUCT: Final = 10
VM_AREA_STRUCT: Final = 11
MAPLE_NODE: Final = 12
NR_KMEM_CACHES: Final = len(KMEM_CACHES)

SLUB_MAX_ORDER: Final = 3  # PAGE_ALLOC_COSTLY_ORDER
MIN_PARTIAL: Final = 5
MAX_PARTIAL: Final = 10

# Columns of Slabs.row
SB_PFN: Final = 0  # first page; 0 while it owes them, NO_PAGE if none were to be had
SB_CACHE: Final = 1
SB_NID: Final = 2  # node whose lists it is on
SB_INUSE: Final = 3
SB_OBJECTS: Final = 4
SB_STATE: Final = 5
SB_PREV: Final = 6  # rows of its neighbours on a list
SB_NEXT: Final = 7
SB_ORDER: Final = 8
NR_SLAB_FIELDS: Final = 9

NO_PAGE: Final = -1

# States of a slab; 0 = the row is free
CURRENT: Final = 1  # objects are taken from it
FULL: Final = 2  # on no list
CPU_PARTIAL: Final = 3
NODE_PARTIAL: Final = 4
EMPTY: Final = 5  # to give its pages back

# Columns of Slabs.cache, a row for each node and cache
SC_CURRENT: Final = 0
SC_CPU_HEAD: Final = 1
SC_CPU_COUNT: Final = 2
SC_HEAD: Final = 3  # partial slabs of the node
SC_TAIL: Final = 4
SC_COUNT: Final = 5  # nr_partial
SC_CPU_MAX: Final = 6  # cpu_partial_slabs
SC_MIN_PARTIAL: Final = 7
SC_OBJECTS: Final = 8  # of a slab of the usual order
SC_ORDER: Final = 9
SC_NR_SLABS: Final = 10  # with pages
SC_NR_OBJECTS: Final = 11  # that have room on them
SC_NR_INUSE: Final = 12
SC_NR_BOOT: Final = 13  # free objects of slabs from boot
SC_SIZE: Final = 14  # of an object, bytes
NR_CACHE_FIELDS: Final = 15

# Entries of Slabs.state
SLAB_ROWS: Final = 0  # rows used so far, row 0 included
SLAB_FREE: Final = 1  # first of those that are free again
SLAB_OWED: Final = 2  # slabs that owe their pages, the first and last of them
SLAB_OWED_HEAD: Final = 3
SLAB_OWED_TAIL: Final = 4
SLAB_EMPTY: Final = 5  # slabs that give theirs back, and the first of them
SLAB_EMPTY_HEAD: Final = 6
SLAB_BOOT: Final = 7  # 1 = the kernel boots: objects lie on memory that it has
NR_SLAB_STATES: Final = 8


def order_objects(order: int, size: int) -> int:
    """Return the objects of a slab.

    Source: Linux 6.1 mm/slub.c:order_objects
    """
    return (PAGE_SIZE << order) // size


def get_order(size: int) -> int:
    """Return the least order whose pages hold so many bytes."""
    return max(0, (size - 1).bit_length() - PAGE_SIZE.bit_length() + 1)


def calculate_order(size: int, nr_cpus: int) -> int:
    """Return the order of a cache's slabs: enough objects, and little left over.

    Source: Linux 6.1 mm/slub.c:calculate_order, :calc_slab_order
    """
    min_objects = min(4 * (nr_cpus.bit_length() + 1), order_objects(SLUB_MAX_ORDER, size))
    while min_objects > 1:
        for fraction in (16, 8, 4):
            for order in range(get_order(min_objects * size), SLUB_MAX_ORDER + 1):
                slab_bytes = PAGE_SIZE << order
                if slab_bytes % size <= slab_bytes // fraction:
                    return order
        min_objects -= 1
    return get_order(size)


def cpu_partial(size: int) -> int:
    """Return how many free objects a CPU keeps to itself, about.

    Source: Linux 6.1 mm/slub.c:set_cpu_partial
    """
    if size >= PAGE_SIZE:
        return 6
    return 24 if size >= 1024 else 52 if size >= 256 else 120


def new_slabs(
    nr_rows: int,
    nr_nodes: int,
    nr_cpus: int,
    zeros: Callable[[tuple[int, int], type[np.int64]], I64_2D] = np.zeros,
    *,
    is_32bit: bool = False,
) -> Slabs:
    """Return caches without slabs.

    Args:
        nr_rows: Slabs there can be, and one more; objects of further ones lie on no page.
        nr_nodes: Nodes of the machine.
        nr_cpus: CPUs of the machine.
        zeros: Makes the rows.
        is_32bit: A word of the machine has 32 bits.

    Source: Linux 6.1 mm/slub.c:set_min_partial, :set_cpu_partial
    """
    cache = np.zeros((nr_nodes * NR_KMEM_CACHES, NR_CACHE_FIELDS), np.int64)
    for number, each in enumerate(KMEM_CACHES):
        size = each.size_32 if is_32bit and each.size_32 else each.size
        order = calculate_order(size, nr_cpus)
        objects = order_objects(order, size)
        rows = cache[number::NR_KMEM_CACHES]
        rows[:, SC_ORDER], rows[:, SC_OBJECTS], rows[:, SC_SIZE] = order, objects, size
        rows[:, SC_CPU_MAX] = -(-2 * cpu_partial(size) // objects)
        half_log = (size.bit_length() - 1) // 2
        rows[:, SC_MIN_PARTIAL] = min(MAX_PARTIAL, max(MIN_PARTIAL, half_log))
    state = np.zeros(NR_SLAB_STATES, np.int64)
    state[SLAB_ROWS] = 1
    return Slabs(zeros((nr_rows, NR_SLAB_FIELDS), np.int64), cache, state)
