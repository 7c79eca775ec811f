"""libumem (portable umem 1.0.2, the port of the OpenSolaris library), `malloc` in front of it.

Each block carries a tag of 8 or 16 bytes with its size before it. Up to 16 KiB with the tag blocks
come from caches of fixed sizes; larger ones are ranges of their own, made accessible and covered
again each time. All memory is mapped; a thread that starts with the first reap looks after what
nobody needs.

Interface: `LibUmem`.
Source: portable umem 1.0.2 malloc.c, umem.c (umem_init, umem_reap), vmem_mmap.c,
umem_update_thread.c.
"""

from typing import Final

from kernelsim.user.malloc.libumem_cache import (
    BUFCTL_BYTES,
    MAGTYPES,
    SLAB_BYTES,
    UMEM_SECOND_ALIGN,
    CacheArenas,
    UmemCache,
)
from kernelsim.user.malloc.libumem_update import UpdateThread
from kernelsim.user.malloc.libumem_vmem import PAGE, POINTER, Arena, Vmem
from kernelsim.user.malloc.protocol import System

UMEM_MAXBUF: Final = 16384
TAG: Final = 8
UMEM_ALIGN_SHIFT: Final = 3
CACHE_LINE: Final = 64
SIZE_MAX: Final = (1 << 64) - 1
VMEM_BYTES: Final = 3144  # an arena's record: sizeof(vmem_t)
VMEM_INITIAL_SEGMENTS: Final = 7  # those of the arena of arenas: a span of 6 records, cut up
CPU_BYTES: Final = 8
BUFCTL_AUDIT_BYTES: Final = 192
# What glibc's dlsym allocates to say that there is no such symbol: the size of the text, which has
# the program's path in it, is that of the recorded program; then struct dl_action_result.
DLSYM_MESSAGE: Final = 56
DLERROR_RESULT: Final = 24
QCACHE_PAGES: Final = 8  # umem_va keeps caches of up to so many pages
QCACHE_SLAB: Final = 1 << (3 * QCACHE_PAGES * PAGE).bit_length()
UMEM_ALLOC_SIZES: Final = (
    *(8, 16, 32, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448),
    *(512, 640, 768, 896, 1152, 1344, 1600, 2048, 2304, 2688, 4096, 4544, 8192, 9216),
    *(12288, UMEM_MAXBUF),
)


class LibUmem:
    """One process's heap. Addresses are 0 for NULL."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._vmem = Vmem(system)
        self._ready = False
        self._failed = False
        self._caches: list[UmemCache] = []  # by (bytes with tag - 1) // 8
        self._sizes: dict[int, int] = {}  # block -> bytes with tag, as its tag says

    # ---- malloc.c ----

    async def malloc(self, nr_bytes: int) -> int:
        """Return a block of at least so many bytes; 0 if there is no memory."""
        size = nr_bytes + TAG
        if size > UMEM_SECOND_ALIGN:
            size += TAG
        if not self._ready and not await self._init():
            return 0
        if size <= UMEM_MAXBUF:
            base = await self._caches[(size - 1) >> UMEM_ALIGN_SHIFT].alloc()
        else:
            base = await self._oversize.alloc(size) if size <= SIZE_MAX else 0
        if not base:
            return 0
        block = base + TAG if size <= UMEM_SECOND_ALIGN else base + 2 * TAG
        await self._system.write(block - TAG, TAG)
        self._sizes[block] = size
        return block

    async def calloc(self, nr: int, nr_bytes: int) -> int:
        """Return a block that reads as zeros: what was asked for is cleared by writing."""
        size = nr * nr_bytes
        block = await self.malloc(size) if size <= SIZE_MAX else 0
        if block and size:
            await self._system.write(block, size)
        return block

    async def realloc(self, address: int, nr_bytes: int) -> int:
        """Change the size of a block: it always moves, unless the size is the same."""
        if not address:
            return await self.malloc(nr_bytes)
        if not nr_bytes:
            await self.free(address)
            return 0
        old = self.usable_size(address)
        if nr_bytes == old:
            return address
        block = await self.malloc(nr_bytes)
        if block:
            kept = min(old, nr_bytes)
            if kept:
                await self._system.read(address, kept)
                await self._system.write(block, kept)
            await self.free(address)
        return block

    async def free(self, address: int) -> None:
        """Take a block back; 0 is none."""
        if not address:
            return
        await self._system.write(address - TAG, TAG)
        size = self._sizes.pop(address)
        base = address - TAG if size <= UMEM_SECOND_ALIGN else address - 2 * TAG
        if size <= UMEM_MAXBUF:
            await self._caches[(size - 1) >> UMEM_ALIGN_SHIFT].free(base)
        else:
            await self._oversize.free(base, size)

    async def trim(self) -> None:
        """Do nothing: malloc_trim(0) is not among its functions."""

    def usable_size(self, address: int) -> int:
        """Return the bytes asked for: the library has no malloc_usable_size."""
        size = self._sizes[address]
        return size - TAG if size <= UMEM_SECOND_ALIGN else size - 2 * TAG

    # ---- vmem_mmap.c: how the heap gets memory and gives it up ----

    async def _top_alloc(self, nr_bytes: int) -> int:
        """Reserve address space."""
        start = await self._top.alloc(nr_bytes)
        if start:
            return start
        start = await self._system.mmap(nr_bytes, prot="none", noreserve=True)
        if start < 0:
            return 0
        got = await self._top.extend_alloc(start, nr_bytes)
        if not got:
            await self._system.munmap(start, nr_bytes)
        return got

    async def _mmap_alloc(self, source: Arena, nr_bytes: int) -> int:
        """Take a range and make it accessible."""
        start = await source.alloc(nr_bytes)
        if start and await self._system.mmap(nr_bytes, prot="rwx", fixed=start) < 0:
            await source.free(start, nr_bytes)
            await self._vmem.maybe_reap()
            return 0
        return start

    async def _mmap_free(self, source: Arena, start: int, nr_bytes: int) -> None:
        """Cover a range: it stays reserved."""
        await self._system.mmap(nr_bytes, prot="none", noreserve=True, fixed=start)
        await source.free(start, nr_bytes)

    # ---- umem_init: arenas and caches ----

    async def _init(self) -> bool:
        """Set everything up at the first request; return whether that worked, now or before."""
        if self._failed:
            return False
        self._failed = True
        await self._init_vmem()
        if await self._init_arenas() and await self._init_caches():
            self._failed = False
            self._ready = True
            self._thread.started()
            await self._look_for_options()
        return self._ready

    async def _look_for_options(self) -> None:
        """Leave what glibc's dlsym allocates when the program has no `_umem_debug_init`."""
        message = await self.malloc(DLSYM_MESSAGE)
        result = await self.malloc(DLERROR_RESULT)
        await self.free(message)
        await self.free(result)

    def _heap_child(self, quantum: int, source: Arena) -> Arena:
        """An arena whose ranges are made accessible when they come from its source."""

        async def alloc(nr_bytes: int) -> int:
            return await self._mmap_alloc(source, nr_bytes)

        async def free(start: int, nr_bytes: int) -> None:
            await self._mmap_free(source, start, nr_bytes)

        return Arena(self._vmem, quantum, alloc, free, source.quantum)

    def _child(self, quantum: int, source: Arena) -> Arena:
        return Arena(self._vmem, quantum, source.alloc, source.free, source.quantum)

    async def _init_vmem(self) -> None:
        vmem = self._vmem
        self._top = Arena(vmem, PAGE)
        self._heap = Arena(vmem, PAGE, self._top_alloc, self._top.free)
        internal = self._heap_child(PAGE, self._heap)
        vmem.seg_arena = self._child(PAGE, internal)
        for arena in (self._top, self._heap, internal, vmem.seg_arena):
            vmem.populators.append(arena)
            await vmem.fetch_records(arena)
        self._vmem_hash = self._child(POINTER, internal)
        self._vmem_vmem = self._child(1, internal)
        del vmem.segfree[-VMEM_INITIAL_SEGMENTS:]
        await vmem.fetch_records(self._vmem_vmem)

    async def _record(self) -> bool:
        """Give an arena its record."""
        address = await self._vmem_vmem.alloc(VMEM_BYTES)
        if address:
            await self._system.write(address, VMEM_BYTES)
        return address != 0

    async def _init_arenas(self) -> bool:
        heap = self._heap
        self._internal = self._heap_child(PAGE, heap)
        self._cache_arenas = CacheArenas(
            self._child(POINTER, self._internal), self._child(POINTER, self._internal)
        )
        # With it those of logs, firewalls and memalign, which nothing here uses.
        for _ in range(8):
            if not await self._record():
                return False
        self._oversize = self._heap_child(PAGE, heap)
        cpus = await self._internal.alloc(2 * CPU_BYTES)
        if cpus:
            await self._system.write(cpus, 2 * CPU_BYTES)
        return cpus != 0

    async def _init_caches(self) -> bool:
        helpers = self._thread = UpdateThread(self._system, self._vmem, self, self._vmem_hash)
        internal = self._internal
        helpers.magazines = [
            UmemCache(self._system, (m.magsize + 1) * POINTER, m.align, internal, hashed=False)
            for m in MAGTYPES
        ]
        records = [
            UmemCache(self._system, size, 0, internal, hashed=False)
            for size in (SLAB_BYTES, BUFCTL_BYTES, BUFCTL_AUDIT_BYTES)
        ]
        helpers.slab_cache, helpers.bufctl_cache, _ = records
        for cache in [*helpers.magazines, *records]:
            if not await self._create(cache):
                return False
        va = self._child(PAGE, self._heap)
        if not await self._record():
            return False
        qcaches = [
            UmemCache(self._system, pages * PAGE, PAGE, va, hashed=True, qcache_slab=QCACHE_SLAB)
            for pages in range(1, QCACHE_PAGES + 1)
        ]
        for cache in qcaches:
            if not await self._create(cache):
                return False
        va.qcaches = [(cache.alloc, cache.free) for cache in qcaches]
        default = self._heap_child(PAGE, va)
        if not await self._record():
            return False
        return await self._init_alloc_caches(default)

    async def _init_alloc_caches(self, default: Arena) -> bool:
        for size in UMEM_ALLOC_SIZES:
            align = PAGE if size % PAGE == 0 else CACHE_LINE if size % CACHE_LINE == 0 else 0
            cache = UmemCache(self._system, size, align, default)
            if not await self._create(cache):
                return False
            while len(self._caches) < size >> UMEM_ALIGN_SHIFT:
                self._caches.append(cache)
        for cache in self._thread.caches:
            cache.enabled = True
        return True

    async def _create(self, cache: UmemCache) -> bool:
        self._thread.caches.append(cache)
        return await cache.create(self._cache_arenas, self._thread)
