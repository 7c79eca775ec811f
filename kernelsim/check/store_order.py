"""Which of several programs has stored last to a page of a file that they share.

Bursts of several CPUs that run together are told one CPU after the other, each with all that its
program has stored since. Two that stored to the same page meanwhile may have done so in any order:
then the page says which of the two was last. It holds one of both, or it is wrong.
Interface: `StoreOrder`. Units: pages of the file.
"""

import numpy as np

from kernelsim.actors.core.kernel import Kernel
from kernelsim.check.page_cache import FileContents
from kernelsim.fs.inode import Inode
from kernelsim.mm.core.mem import I64
from kernelsim.mm.core.xarray import xa_load
from kernelsim.mm.file.shmem import slot_of_entry
from kernelsim.mm.swap.gup import slot_token


class StoreOrder:
    """Enters stores to files in the order in which they were done.

    Args:
        kernel: The machine.
        files: What files must hold.
    """

    def __init__(self, kernel: Kernel, files: FileContents) -> None:
        self._kernel = kernel
        self._files = files
        self._entered: list[tuple[int, I64]] = []  # since the first that is not entered yet
        self._depth = 0

    def enter(self, inode: Inode, pages: I64, token: int) -> I64:
        """Enter what a program has stored through a mapping, and before that what others have.

        Returns:
            The pages that it has stored to last.
        """
        began = len(self._entered)
        self._depth += 1
        self._kernel.bursts.tell_stores()
        self._depth -= 1
        others = [theirs for number, theirs in self._entered[began:] if number == inode.number]
        if others:
            pages = self._last_here(inode, pages, np.concatenate(others), token)
        self._files.stored(inode, pages, token)
        self._entered.append((inode.number, pages))
        if not self._depth:
            self._entered.clear()
        return pages

    def _last_here(self, inode: Inode, pages: I64, others: I64, token: int) -> I64:
        """Return those of the pages that others have not stored to later."""
        is_open = np.isin(pages, others)
        expected = self._files.held(inode.number, pages)
        held = [
            self._held(inode, page) if both else token
            for page, both in zip(pages.tolist(), is_open.tolist(), strict=True)
        ]
        last: I64 = pages[~(is_open & (np.array(held, np.uint64) == expected))]
        return last

    def _held(self, inode: Inode, page: int) -> int:
        """Return what a page holds; 0 if it is neither in memory nor in swap."""
        kernel = self._kernel
        entry = int(xa_load(kernel.spaces.pool.xa, inode.number, page))
        if entry > 0:
            return int(kernel.mem.pages.token[entry])
        slot = slot_of_entry(entry)
        return slot_token(kernel.mem, kernel.swap, slot) if slot else 0
