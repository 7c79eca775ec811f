"""Which of several programs has stored last to a page of a file that they share.

Bursts of several CPUs that run together are told one CPU after the other, each with all that its
program has stored since. Two that stored to the same page meanwhile may have done so in any order:
then the page says which of the two was last. It holds one of both, or it is wrong.
Interface: `StoreOrder`. Units: pages of the file.
"""

import numpy as np

from kernelsim.actors.core.kernel import Kernel
from kernelsim.check.page_cache import FileContents, file_token
from kernelsim.fs.inode import Inode
from kernelsim.mm.core.mem import I64


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
            file_token(self._kernel, inode, page) if both else token
            for page, both in zip(pages.tolist(), is_open.tolist(), strict=True)
        ]
        last: I64 = pages[~(is_open & (np.array(held, np.uint64) == expected))]
        return last
