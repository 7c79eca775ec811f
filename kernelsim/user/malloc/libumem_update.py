"""What libumem does as time passes: reaps, and the thread that looks after all caches.

A reap is asked for when the heap grows, first in a later second than that of the start, then not
before the third second after the last. Of each cache's depot it gives up the magazines that nobody
needed in the ten seconds before the last update, and slabs that are free then go back. The first
reap starts the update thread.

Interface: `UpdateThread`.
Source: portable umem 1.0.2 umem.c (umem_reap, umem_cache_update), umem_update_thread.c,
sol_compat.h (gethrtime).
"""

from typing import Final, Protocol

from kernelsim.user.malloc.libumem_cache import UmemCache
from kernelsim.user.malloc.libumem_vmem import POINTER, VMEM_HASH_INITIAL, Arena, Vmem
from kernelsim.user.malloc.protocol import System

SECOND: Final = 1_000_000_000
UMEM_REAP_INTERVAL: Final = 10
NANOSEC: Final = 1_000_000_000  # added to a clock that counts microseconds in its lower half
STACK_BYTES: Final = 8 * 1024 * 1024
STACK_GUARD: Final = 4096
STACK_USED: Final = 8192  # two pages, as recorded: the thread's own data, and its first calls
DTV_BYTES: Final = 272  # glibc's table of thread-local storage, by calloc
REAP_STEPS_MAX: Final = 2  # more updates at once change nothing


class _Callocs(Protocol):
    async def calloc(self, nr: int, nr_bytes: int) -> int: ...


class UpdateThread:
    """The thread, and the caches it looks after.

    The model runs it at the next call that could tell the difference.

    Attributes:
        caches: All caches, in the order in which they were made.
        magazines: Of them those of magazines.
        slab_cache: The one of records of slabs.
        bufctl_cache: The one of records of blocks.
    """

    def __init__(self, system: System, vmem: Vmem, heap: _Callocs, hash_arena: Arena) -> None:
        self.caches: list[UmemCache] = []
        self.magazines: list[UmemCache] = []
        self.slab_cache: UmemCache
        self.bufctl_cache: UmemCache
        self._system = system
        self._vmem = vmem
        self._heap = heap
        self._hash_arena = hash_arena
        self._reaping = False
        self._reap_next = 0
        self._update_next_ns = 0
        self._runs = False

    def started(self) -> None:
        """From now on memory may be reaped (the end of umem_init)."""
        self._reap_next = self._gethrtime() + NANOSEC
        self._update_next_ns = self._system.now_ns
        self._vmem.reap = self.reap

    def _gethrtime(self) -> int:
        """Return seconds in the upper half, microseconds in the lower, as this port does."""
        seconds, rest = divmod(self._system.now_ns, SECOND)
        return seconds << 32 | rest // 1000

    async def reap(self) -> None:
        """Reap all caches if it is time (umem_reap)."""
        if self._reaping or self._gethrtime() < self._reap_next:
            return
        self._reaping = True
        await self.catch_up()
        if not self._runs:
            await self._start_thread()
        for cache in self.caches:
            await cache.reap()
        self._reap_next = self._gethrtime() + UMEM_REAP_INTERVAL * NANOSEC
        self._reaping = False
        await self.catch_up()

    async def _start_thread(self) -> None:
        """Start it if there is memory for its stack (glibc nptl/allocatestack.c)."""
        stack = await self._system.mmap(STACK_BYTES + STACK_GUARD, prot="none")
        if stack < 0:
            return
        if await self._system.mprotect(stack + STACK_GUARD, STACK_BYTES, "rw"):
            await self._system.munmap(stack, STACK_BYTES + STACK_GUARD)
            return
        await self._heap.calloc(1, DTV_BYTES)
        await self._system.write(stack + STACK_GUARD + STACK_BYTES - STACK_USED, STACK_USED)
        self._runs = True

    async def catch_up(self) -> None:
        """Run the updates that are due."""
        if not self._runs:
            return
        for _ in range(REAP_STEPS_MAX):
            if self._system.now_ns < self._update_next_ns:
                return
            self._update_next_ns += UMEM_REAP_INTERVAL * SECOND
            await self._update()
        late = self._system.now_ns - self._update_next_ns
        if late >= 0:
            self._update_next_ns += (late // (UMEM_REAP_INTERVAL * SECOND) + 1) * (
                UMEM_REAP_INTERVAL * SECOND
            )

    async def _update(self) -> None:
        for arena in self._vmem.arenas:
            await self._rescale(arena)
        for cache in self.caches:
            cache.update_working_set()
        for cache in self.caches:
            await cache.rescale_hash()

    async def _rescale(self, arena: Arena) -> None:
        """Make an arena's hash table about as large as the number of its segments."""
        nr = len(arena.allocated)
        size = max(VMEM_HASH_INITIAL, 1 << ((3 * nr + 4).bit_length() - 2))
        old = arena.hash_size
        if old >> 1 <= size <= old << 1:
            return
        table = await self._hash_arena.alloc(size * POINTER)
        if not table:
            return
        await self._system.write(table, size * POINTER)
        if arena.hash_table:
            await self._hash_arena.free(arena.hash_table, old * POINTER)
        arena.hash_table, arena.hash_size = table, size
