"""Caches of libumem: blocks of one size, in magazines of the CPU, in a depot, in slabs.

A block that is freed goes into the CPU's loaded magazine; full and empty magazines are exchanged
with the depot; only what no magazine holds goes back to its slab, and a slab all of whose blocks
are back returns to its arena. Slabs of small blocks keep their own record and the links of free
blocks inside; those of larger ones keep both elsewhere and find them by a hash table.

Interface: `UmemCache`, `Magtype`, `CacheArenas`, `MAGTYPES`.
Source: portable umem 1.0.2 umem.c, umem_impl.h.
"""

from typing import Final, NamedTuple, Protocol

from kernelsim.user.malloc.libumem_vmem import POINTER, Arena
from kernelsim.user.malloc.protocol import System

UMEM_ALIGN: Final = 8
UMEM_SECOND_ALIGN: Final = 16  # of blocks of 16 bytes and more
UMEM_VOID_FRACTION: Final = 8  # at most an eighth of a slab is left over
UMEM_HASH_INITIAL: Final = 64
UMEM_CPU_CACHE_SIZE: Final = 128
NR_CPUS: Final = 2  # CPU caches a cache has room for; one thread uses one
CACHE_BYTES: Final = 568 + NR_CPUS * UMEM_CPU_CACHE_SIZE
SLAB_BYTES: Final = 56
BUFCTL_BYTES: Final = 24


class Magtype(NamedTuple):
    """A kind of magazine.

    Attributes:
        magsize: Blocks it holds.
        align: Alignment of its memory.
        minbuf: Caches whose blocks are larger than this use it at first.
    """

    magsize: int
    align: int
    minbuf: int


MAGTYPES: Final = (
    Magtype(1, 8, 3200),
    Magtype(3, 16, 256),
    Magtype(7, 32, 64),
    Magtype(15, 64, 0),
    Magtype(31, 64, 0),
    Magtype(47, 64, 0),
    Magtype(63, 64, 0),
    Magtype(95, 64, 0),
    Magtype(143, 64, 0),
)


class Helpers(Protocol):
    """What caches need of each other, and of time.

    Attributes:
        magazines: The caches of magazines, as MAGTYPES.
        slab_cache: Records of slabs.
        bufctl_cache: Records of blocks.
    """

    magazines: list["UmemCache"]
    slab_cache: "UmemCache"
    bufctl_cache: "UmemCache"

    async def catch_up(self) -> None:
        """Do what is due by the clock; it comes before a look at the depot."""
        ...


class CacheArenas(NamedTuple):
    """Where a cache has its own memory from."""

    cache: Arena
    hash: Arena


class _Magazine:
    """A magazine: where it is and the blocks in it, the next one last."""

    __slots__ = ("address", "rounds")

    def __init__(self, address: int) -> None:
        self.address = address
        self.rounds: list[int] = []


class _Maglist:
    """Magazines in the depot, the next one last.

    Attributes:
        least: The fewest there were since the last update.
        reaplimit: The fewest there were in the time before: nobody needs those.
    """

    def __init__(self) -> None:
        self.magazines: list[_Magazine] = []
        self.least = 0
        self.reaplimit = 0

    def pop(self) -> _Magazine:
        """Take one."""
        magazine = self.magazines.pop()
        self.least = min(self.least, len(self.magazines))
        return magazine

    def update(self) -> None:
        """Start to count anew."""
        self.reaplimit = self.least
        self.least = len(self.magazines)


class _Slab:
    """A slab.

    Attributes:
        start: Its memory.
        base: Its first block.
        record: Address of its record.
        head: Free blocks, the next one last.
        bufctls: Address of what stands for each block, where that is not in the block.
        refcnt: Blocks in use.
    """

    __slots__ = ("base", "bufctls", "head", "record", "refcnt", "start")

    def __init__(self, start: int, base: int, record: int) -> None:
        self.start = start
        self.base = base
        self.record = record
        self.head: list[int] = []
        self.bufctls: list[int] = []
        self.refcnt = 0


class UmemCache:
    """A cache of blocks of one size.

    Attributes:
        chunksize: Bytes from block to block.
        slabsize: Bytes of a slab.
        buftotal: Blocks in all slabs.
        enabled: Its magazines may be used.
    """

    def __init__(
        self,
        system: System,
        bufsize: int,
        align: int,
        arena: Arena,
        *,
        hashed: bool | None = None,
        qcache_slab: int = 0,
    ) -> None:
        """Decide how its slabs look.

        Args:
            hashed: Whether slabs keep their records elsewhere; None if that depends on the size.
            qcache_slab: Bytes of a slab, for a cache of pages of an arena.
        """
        self._system = system
        self._arena = arena
        aligned = -(-bufsize // UMEM_ALIGN) * UMEM_ALIGN
        self._align = align or (UMEM_SECOND_ALIGN if aligned >= UMEM_SECOND_ALIGN else UMEM_ALIGN)
        self._bufctl = aligned - UMEM_ALIGN  # where a free block links to the next
        self.chunksize = -(-aligned // self._align) * self._align
        if hashed is None:
            hashed = self.chunksize >= arena.quantum // UMEM_VOID_FRACTION
        self.hashed = hashed
        if hashed:
            self.slabsize = qcache_slab or _best_slab(self.chunksize, arena.quantum)
            self._maxcolor = self.slabsize % self.chunksize
        else:
            self.slabsize = arena.quantum
            self._maxcolor = (self.slabsize - SLAB_BYTES) % self.chunksize
        self._maxcolor = min(self._maxcolor, arena.quantum - 1)
        self._color = 0
        self._magtype = next(i for i, m in enumerate(MAGTYPES) if self.chunksize > m.minbuf)
        self._magsize = MAGTYPES[self._magtype].magsize
        self.buftotal = 0
        self.enabled = False
        self._partial: dict[_Slab, None] = {}  # slabs with free blocks, the next one last
        self._slabs: dict[int, _Slab] = {}  # by start, or by block if hashed
        self.hash_mask = UMEM_HASH_INITIAL - 1
        self._hash_table = 0
        self._loaded: _Magazine | None = None
        self._ploaded: _Magazine | None = None
        self._full = _Maglist()
        self._empty = _Maglist()

    async def create(self, arenas: CacheArenas, helpers: Helpers) -> bool:
        """Get the memory of the cache itself; return whether there was some."""
        self._helpers = helpers
        address = await arenas.cache.xalloc(
            CACHE_BYTES, UMEM_CPU_CACHE_SIZE, -CACHE_BYTES % UMEM_CPU_CACHE_SIZE
        )
        if not address:
            return False
        await self._system.write(address, CACHE_BYTES)
        self._hash_arena = arenas.hash
        if self.hashed:
            self._hash_table = await arenas.hash.alloc(UMEM_HASH_INITIAL * POINTER)
            if not self._hash_table:
                return False
            await self._system.write(self._hash_table, UMEM_HASH_INITIAL * POINTER)
        return True

    # ---- magazines ----

    async def alloc(self) -> int:
        """Return a block; 0 if there is no memory."""
        while True:
            loaded = self._loaded
            if loaded is not None and loaded.rounds:
                return loaded.rounds.pop()
            if self._ploaded is not None and self._ploaded.rounds:
                self._loaded, self._ploaded = self._ploaded, loaded
                continue
            if not self.enabled:
                break
            await self._helpers.catch_up()
            if not self._full.magazines:
                break
            self._load(self._full.pop(), self._empty)
        return await self._slab_alloc()

    async def free(self, block: int) -> None:
        """Take a block back."""
        while True:
            loaded = self._loaded
            if loaded is not None and len(loaded.rounds) < self._magsize:
                await self._system.write(
                    loaded.address + POINTER * (len(loaded.rounds) + 1), POINTER
                )
                loaded.rounds.append(block)
                return
            if self._ploaded is not None and not self._ploaded.rounds:
                self._loaded, self._ploaded = self._ploaded, loaded
                continue
            if not self.enabled:
                break
            await self._helpers.catch_up()
            if not self._empty.magazines:
                address = await self._helpers.magazines[self._magtype].alloc()
                if not address:
                    break
                self._empty.magazines.append(_Magazine(address))
                continue
            self._load(self._empty.pop(), self._full)
        await self._slab_free(block)

    def _load(self, magazine: _Magazine, to: _Maglist) -> None:
        """Load a magazine; the one loaded before last goes to the depot."""
        if self._ploaded is not None:
            to.magazines.append(self._ploaded)
        self._ploaded = self._loaded
        self._loaded = magazine

    def update_working_set(self) -> None:
        """Note how many magazines nobody needed (umem_depot_ws_update)."""
        self._full.update()
        self._empty.update()

    async def reap(self) -> None:
        """Give up the magazines of the depot that nobody needed."""
        for maglist in (self._full, self._empty):
            for _ in range(min(maglist.reaplimit, maglist.least)):
                if not maglist.magazines:
                    break
                magazine = maglist.pop()
                for block in magazine.rounds:
                    await self._slab_free(block)
                await self._helpers.magazines[self._magtype].free(magazine.address)

    # ---- slabs ----

    async def _slab_alloc(self) -> int:
        if not self._partial:
            created = await self._slab_create()
            if created is None:
                return 0
            self.buftotal += len(created.head)
            self._partial[created] = None
        slab = next(reversed(self._partial))
        slab.refcnt += 1
        block = slab.head.pop()
        if not slab.head:
            del self._partial[slab]
        if self.hashed:
            self._slabs[block] = slab
            await self._system.write(self._bufctl_of(slab, block), POINTER)
        return block

    async def _slab_free(self, block: int) -> None:
        if self.hashed:
            slab = self._slabs.pop(block)
            await self._system.write(self._bufctl_of(slab, block), POINTER)
        else:
            slab = self._slabs[block // self.slabsize * self.slabsize]
            await self._system.write(block + self._bufctl, POINTER)
        if not slab.head:
            self._partial[slab] = None
        slab.head.append(block)
        slab.refcnt -= 1
        if not slab.refcnt:
            del self._partial[slab]
            self.buftotal -= len(slab.head)
            await self._slab_destroy(slab)

    def _bufctl_of(self, slab: _Slab, block: int) -> int:
        return slab.bufctls[(block - slab.base) // self.chunksize]

    async def _slab_create(self) -> _Slab | None:
        self._color += self._align
        if self._color > self._maxcolor:
            self._color = 0
        start = await self._arena.alloc(self.slabsize)
        if not start:
            return None
        base = start + self._color
        if self.hashed:
            return await self._hashed_slab(start, base)
        slab = _Slab(start, base, start + self.slabsize - SLAB_BYTES)
        await self._system.write(slab.record, SLAB_BYTES)
        chunks = (self.slabsize - SLAB_BYTES - self._color) // self.chunksize
        slab.head = [base + i * self.chunksize for i in range(chunks)]
        await self._system.write(slab.head[0] + self._bufctl, POINTER)
        self._slabs[start] = slab
        return slab

    async def _hashed_slab(self, start: int, base: int) -> _Slab | None:
        helpers = self._helpers
        slab = _Slab(start, base, await helpers.slab_cache.alloc())
        chunks = (self.slabsize - (base - start)) // self.chunksize
        if slab.record:
            await self._system.write(slab.record, SLAB_BYTES)
            for i in range(chunks):
                bufctl = await helpers.bufctl_cache.alloc()
                if not bufctl:
                    break
                await self._system.write(bufctl, BUFCTL_BYTES)
                slab.bufctls.append(bufctl)
                slab.head.append(base + i * self.chunksize)
        if len(slab.head) == chunks:
            return slab
        if slab.record:
            await self._slab_destroy(slab)
        else:
            await self._arena.free(start, self.slabsize)
        return None

    async def _slab_destroy(self, slab: _Slab) -> None:
        if self.hashed:
            for block in reversed(slab.head):
                await self._helpers.bufctl_cache.free(self._bufctl_of(slab, block))
            await self._helpers.slab_cache.free(slab.record)
        else:
            del self._slabs[slab.start]
        await self._arena.free(slab.start, self.slabsize)

    async def rescale_hash(self) -> None:
        """Make the hash table about as large as the cache, if it is far from that."""
        mask = self.hash_mask
        small = self.buftotal > mask << 1
        large = self.buftotal < mask >> 1 and mask > UMEM_HASH_INITIAL
        if not self.hashed or not (small or large):
            return
        size = max(UMEM_HASH_INITIAL, 1 << ((3 * self.buftotal + 4).bit_length() - 2))
        old = mask + 1
        if old >> 1 <= size <= old << 1:
            return
        table = await self._hash_arena.alloc(size * POINTER)
        if table:
            await self._system.write(table, size * POINTER)
            await self._hash_arena.free(self._hash_table, old * POINTER)
            self._hash_table = table
            self.hash_mask = size - 1


def _best_slab(chunksize: int, quantum: int) -> int:
    """Return the length of slab, up to eight blocks and more, that wastes least a block."""
    best, least = 0, 1 << 62
    chunks = 1
    while chunks <= UMEM_VOID_FRACTION:
        slabsize = -(-chunksize * chunks // quantum) * quantum
        chunks = slabsize // chunksize
        waste = slabsize % chunksize // chunks
        if waste < least:
            best, least = slabsize, waste
        chunks += 1
    return best
