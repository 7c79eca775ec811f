"""What is kept of bios for when there is no memory, and who waits for one to come back.

Linux: mm/mempool.c (mempool_t), block/bio.c:fs_bio_set (6.1).
Interface: `BioPool`, one a machine; alloc/mempool.py has who waits.
Units: bios.
"""

from typing import Final

from kernelsim.actors.core.task import Task
from kernelsim.mm.core.mem import Slabs
from kernelsim.mm.core.slab_cache import BIO, NR_KMEM_CACHES, SC_NR_INUSE, SC_NR_OBJECTS
from kernelsim.sim.engine import Engine
from kernelsim.units import NS_PER_S

BIO_POOL_SIZE: Final = 2  # include/linux/bio.h
RETRY_NS: Final = 5 * NS_PER_S  # mm/mempool.c:mempool_alloc, io_schedule_timeout(5 * HZ)


class BioPool:
    """The bios of swap that there was no memory for.

    Args:
        engine: Where tasks wait.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._queue = engine.wait_queue("bio mempool")

    def end_request(self) -> None:
        """Let those who wait look again: the bios of a request have come back.

        Source: Linux 6.1 mm/mempool.c:mempool_free
        """
        if self._queue.nr_waiting:
            self._queue.wake_all()

    async def wait(self, task: Task) -> None:
        """Sleep until bios have come back, at most five seconds.

        Source: Linux 6.1 mm/mempool.c:mempool_alloc
        """
        async with task.off_cpu(in_iowait=True):
            with self._engine.move_on_after(RETRY_NS):
                await self._queue.wait()


def is_used_up(slabs: Slabs) -> bool:
    """Tell whether more bios are in use than slabs have room for, and are kept besides."""
    of_bios = slabs.cache[BIO::NR_KMEM_CACHES]
    nr_pageless = int(of_bios[:, SC_NR_INUSE].sum() - of_bios[:, SC_NR_OBJECTS].sum())
    return nr_pageless > BIO_POOL_SIZE
