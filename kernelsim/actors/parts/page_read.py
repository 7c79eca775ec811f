"""Where tasks sleep until pages have been read.

Interface: a `PageRead` for each read, in `Kernel.page_reads` under each of its pages.
"""

from kernelsim.sim.engine import Engine
from kernelsim.sim.locks import WaitQueue


class PageRead(WaitQueue):
    """Pages being read, as one request or a few, and the tasks that wait for them.

    Args:
        engine: Of the run.
        name: For reports.
        reader: The task that reads them.
    """

    def __init__(self, engine: Engine, name: str, reader: str) -> None:
        super().__init__(engine.clock, name)
        self.reader = reader
