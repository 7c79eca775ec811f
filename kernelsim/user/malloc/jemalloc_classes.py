"""Size classes of jemalloc.

Sizes come in groups of four a doubling. Those below 16 KiB are cut from slabs, whose length is a
multiple of both the page and the size; larger ones are extents with a page to spare. Extents in
the caches are sorted by the page sizes among the classes.

Interface: the tables and functions here.
Source: jemalloc 5.3.0 src/sc.c, src/sz.c, src/tcache.c (tcache_ncached_max_compute).
"""

from bisect import bisect_left
from math import lcm
from typing import Final

PAGE: Final = 4096
PAGE_SHIFT: Final = 12
NGROUP: Final = 4  # classes a doubling
QUANTUM: Final = 16
LARGE_MINCLASS: Final = 16384
LARGE_MAXCLASS: Final = 7 << 60
LARGE_PAD: Final = PAGE  # for the random start of a large block (cache_oblivious)
TCACHE_MAXCLASS: Final = 32768
TCACHE_NSLOTS_MIN: Final = 20
TCACHE_NSLOTS_MAX: Final = 200
TCACHE_NSLOTS_LARGE: Final = 20


def _sizes() -> list[int]:
    sizes = [8, 16, 32, 48, 64]
    base = 64
    while sizes[-1] < LARGE_MAXCLASS:
        sizes += [base + base // NGROUP * i for i in range(1, NGROUP + 1)]
        base *= 2
    return [size for size in sizes if size <= LARGE_MAXCLASS]


SIZES: Final = _sizes()
PAGE_SIZES: Final = [size for size in SIZES if size % PAGE == 0]
NBINS: Final = SIZES.index(LARGE_MINCLASS)
SMALL_MAXCLASS: Final = SIZES[NBINS - 1]
NHBINS: Final = SIZES.index(TCACHE_MAXCLASS) + 1
SLAB_SIZES: Final = [lcm(size, PAGE) for size in SIZES[:NBINS]]
NREGS: Final = [slab // size for slab, size in zip(SLAB_SIZES, SIZES, strict=False)]
NCACHED_MAX: Final = [
    min(max(2 * nregs, TCACHE_NSLOTS_MIN), TCACHE_NSLOTS_MAX) for nregs in NREGS
] + [TCACHE_NSLOTS_LARGE] * (NHBINS - NBINS)
SMALL_INDEX: Final = [bisect_left(SIZES, 8 * i) for i in range(LARGE_MINCLASS // 8 + 1)]


def size2index(nr_bytes: int) -> int:
    """Return the class of a request; the number of classes if it is too large."""
    if nr_bytes <= LARGE_MINCLASS:
        return SMALL_INDEX[(nr_bytes + 7) >> 3]
    return bisect_left(SIZES, nr_bytes)


def psz2ind(nr_bytes: int) -> int:
    """Return the first page size of at least so many bytes."""
    return bisect_left(PAGE_SIZES, nr_bytes)


def quantize_floor(nr_bytes: int) -> int:
    """Return the longest extent of a class that is not longer (sz_psz_quantize_floor)."""
    pind = psz2ind(nr_bytes - LARGE_PAD + 1)
    return PAGE_SIZES[pind - 1] + LARGE_PAD if pind else nr_bytes


def quantize_ceil(nr_bytes: int) -> int:
    """Return the shortest extent of a class that is not shorter (sz_psz_quantize_ceil)."""
    floor = quantize_floor(nr_bytes)
    if floor == nr_bytes:
        return floor
    return PAGE_SIZES[psz2ind(floor - LARGE_PAD + 1)] + LARGE_PAD
