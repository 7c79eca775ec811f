"""Which pages that are read again count in workingset_refault: whose eviction is remembered.

Linux: mm/workingset.c: workingset_refault, lru_gen_refault, 6.1.
With the multi-generational LRU only those count that were evicted from what is still the oldest
generation of their node.
Interface: `Refaults` is asked before pages are entered in a cache, swap's or a file's.
Units: pages.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from kernelsim.actors.core.kernel import Kernel
from kernelsim.fs.inode import Inode
from kernelsim.mm.core.lru_gen import (
    LG_MIN_SEQ,
    LRU_GEN_ANON,
    LRU_GEN_FILE,
    LRU_REFS_WIDTH,
    lru_gen_enabled,
)
from kernelsim.mm.core.mem import I64, nids_of
from kernelsim.mm.core.xarray import xa_load

SHADOW_NID_BITS: Final = 10  # as workingset.py packs it, behind two bits


class Refaults:
    """Tells them apart.

    Args:
        kernel: The machine.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def of_swap(self, slots: I64, pfns: I64) -> I64:
        """Return the pages that count, of those that slots are about to be read to."""
        pfns = pfns[: len(slots)]
        return pfns[self._counts(self._kernel.swap.shadow[slots], pfns, LRU_GEN_ANON)]

    def of_file(self, inode: Inode, index: int, pfns: I64) -> NDArray[np.bool_]:
        """Tell which pages count, of those about to be entered as those of a file from one on."""
        xa = self._kernel.spaces.pool.xa
        entries = [xa_load(xa, inode.number, index + at) for at in range(len(pfns))]
        shadows = np.array([max(-entry, 0) for entry in entries], np.int64)
        return self._counts(shadows, pfns, LRU_GEN_FILE)

    def _counts(self, shadows: I64, pfns: I64, file: int) -> NDArray[np.bool_]:
        mem = self._kernel.mem
        is_remembered: NDArray[np.bool_] = shadows != 0
        if not lru_gen_enabled(mem):
            return is_remembered
        nids = nids_of(mem, pfns)
        is_same_node = (shadows >> 2) & ((1 << SHADOW_NID_BITS) - 1) == nids
        evicted_from = shadows >> (2 + SHADOW_NID_BITS + LRU_REFS_WIDTH)
        is_oldest = evicted_from == mem.lru_gen[nids, LG_MIN_SEQ + file]
        counts: NDArray[np.bool_] = is_remembered & is_same_node & is_oldest
        return counts
