"""Making writers help: one over the limit writes a chunk of its disk's files itself.

Linux: mm/page-writeback.c:balance_dirty_pages, 2.6.31.
Units: pages.
"""

from kernelsim.actors.core.backing_dev import BackingDev
from kernelsim.actors.core.current import Current
from kernelsim.actors.file.pdflush import congestion_wait, write_device
from kernelsim.fs.fs_writeback import LONG_MAX
from kernelsim.mm.file.classic_writeback import (
    Look,
    look,
    must_balance,
    over_background,
    ratelimit_pages,
)


async def balance_dirty_pages_classic(current: Current, bdi: BackingDev) -> None:
    """Look at the limits if the CPU has dirtied enough; write and wait until below them.

    Source: Linux 2.6.31 mm/page-writeback.c:balance_dirty_pages
    """
    state, wb, task = bdi.state, bdi.wb, current.task
    task.dirty.nr_dirtied = 0
    if not must_balance(state, wb, task.cpu.number):
        return
    chunk = ratelimit_pages(state) * 3 // 2
    written = 0
    while not task.killed:
        what = look(state, wb, bdi.now, has_written=False)
        if what is Look.GO_ON:
            break
        if what is Look.WRITE:
            left, _ = await write_device(current, bdi, LONG_MAX, chunk, blocks=True)
            written += chunk - left
            if look(state, wb, bdi.now, has_written=True) is Look.GO_ON or written >= chunk:
                break
        await congestion_wait(current)
    if not bdi.is_running and over_background(state):
        bdi.wakeup()
