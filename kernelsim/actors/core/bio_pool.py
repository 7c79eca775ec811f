"""What is kept of bios for when there is no memory, and who waits for one to come back.

Linux: mm/mempool.c:mempool_alloc, block/bio.c:bio_alloc_bioset (fs_bio_set), 6.1.
Units: bios; requests.
"""

from typing import Final

from kernelsim.actors.core.task import Task
from kernelsim.mm.core.mem import I64_2D
from kernelsim.mm.core.slab_cache import BIO, NO_PAGE, SB_CACHE, SB_INUSE, SB_PFN
from kernelsim.sim.engine import Engine

BIO_POOL_SIZE: Final = 2  # include/linux/bio.h


class BioPool:
    """The bios of writes to swap that there was no memory for.

    Attributes:
        nr_in_flight: Requests that will give theirs back.
    """

    def __init__(self, engine: Engine) -> None:
        self.nr_in_flight = 0
        self._queue = engine.wait_queue("bio mempool")

    def end_request(self) -> None:
        """Note that the bios of a request have come back."""
        self.nr_in_flight -= 1
        self._queue.wake_all()

    def is_used_up(self, slabs: I64_2D) -> bool:
        """Tell whether more bios are in use without memory than are kept, and some come back.

        Args:
            slabs: Rows of all slabs, SB_* in columns.
        """
        if not self.nr_in_flight:
            return False
        is_bio = (slabs[:, SB_CACHE] == BIO) & (slabs[:, SB_PFN] == NO_PAGE)
        return int(slabs[is_bio, SB_INUSE].sum()) > BIO_POOL_SIZE

    async def wait(self, task: Task, slabs: I64_2D) -> None:
        """Sleep until enough bios have come back.

        Source: Linux 6.1 mm/mempool.c:mempool_alloc
        """
        # Differs from Linux: Who gets no bio for a page that is swapped out waits behind the
        # request that the page is part of, not before.
        while self.is_used_up(slabs):
            async with task.off_cpu(in_iowait=True):
                if self.is_used_up(slabs):
                    await self._queue.wait()
