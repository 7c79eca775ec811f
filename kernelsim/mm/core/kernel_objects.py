"""Objects of the kernel that belong together, such as those of a process: which slabs they lie in.

Linux: kernel/fork.c: dup_task_struct, copy_process, proc_caches_init (6.1).
Interface: `ObjectSets.alloc` takes a set's objects one by one, `free` gives them back; the slabs
settle behind each (slab.py). A set is `in_use` until the last of its objects is free.
Units: objects.
"""

from collections.abc import Iterable
from typing import Final

import attrs

from kernelsim.mm.core.mem import Slabs
from kernelsim.mm.core.slab import kmem_cache_alloc, kmem_cache_free
from kernelsim.mm.core.slab_cache import (
    CRED_JAR,
    FILES_CACHE,
    FS_CACHE,
    KMEM_CACHES,
    NR_KMEM_CACHES,
    PID,
    SC_NR_BOOT,
    SIGHAND_CACHE,
    SIGNAL_CACHE,
    TASK_STRUCT,
    cpu_partial,
)

# What a thread of the kernel has, which uses the files of who made it, and a process besides.
KTHREAD_OBJECTS: Final = (TASK_STRUCT, CRED_JAR, SIGHAND_CACHE, SIGNAL_CACHE, PID)
EXIT_OBJECTS: Final = (FILES_CACHE, FS_CACHE)  # free when it ends: exit_files, exit_fs
PROCESS_OBJECTS: Final = (TASK_STRUCT, CRED_JAR, *EXIT_OBJECTS, *KTHREAD_OBJECTS[2:])


@attrs.frozen(eq=False)
class KernelObjects:
    """Objects of one owner.

    Attributes:
        number: Of the set.
        rows: Of the slab that each lies in, by its cache.
    """

    number: int
    rows: dict[int, int] = attrs.field(factory=dict)


class ObjectSets:
    """All sets of a machine, but for those that were there at boot.

    Args:
        slabs: Where objects lie.

    Attributes:
        in_use: Sets with an object, by number.
    """

    def __init__(self, slabs: Slabs) -> None:
        self._slabs = slabs
        self._next = 0
        self.in_use: dict[int, KernelObjects] = {}

    def new(self) -> KernelObjects:
        """Return a set without objects."""
        self._next += 1
        return KernelObjects(self._next)

    def alloc(self, objects: KernelObjects, cache: int, nid: int) -> None:
        """Take an object into a set, on a node."""
        assert cache not in objects.rows, "a set has one object of a cache"
        objects.rows[cache] = kmem_cache_alloc(self._slabs, cache, nid)
        self.in_use[objects.number] = objects

    def free(self, objects: KernelObjects, caches: Iterable[int], nid: int) -> None:
        """Give objects of a set back; `nid` is the node of those that lie in what boot left."""
        for cache in caches:
            kmem_cache_free(self._slabs, cache, nid, objects.rows.pop(cache))
        if not objects.rows:
            del self.in_use[objects.number]

    def leave_from_boot(self, caches: Iterable[int], nid: int) -> None:
        """Let there be the free objects of some caches that a CPU of a node keeps.

        A machine that has booted has had processes that ended. In recordings of one CPU four more
        at once make none of their caches grow.
        """
        for cache in caches:
            nr_free = cpu_partial(KMEM_CACHES[cache].size)
            self._slabs.cache[nid * NR_KMEM_CACHES + cache, SC_NR_BOOT] += nr_free
