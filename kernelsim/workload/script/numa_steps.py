"""Steps of portable scripts that tell on which nodes pages are, or move them.

Interface: `NUMA_STEPS` says which function does which step.
Units: bytes; pages.
"""

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

import numpy as np

from kernelsim.units import PAGE_SIZE
from kernelsim.workload.handle import ProcessHandle
from kernelsim.workload.script.script_output import Fields
from kernelsim.workload.script.script_steps import Step
from kernelsim.workload.script.step_work import Outcome, number_of
from kernelsim.workload.syscall import MappedRange

NODES_TOLD: Final = 4  # by the recorded program, however many there are
PAGES_AT_ONCE: Final = 4096
HEAD_PAGES_MAX: Final = 64


async def where(process: ProcessHandle, region: MappedRange, _step: Step) -> Outcome:
    """Tell how many pages of a region are on each node."""
    nr_pages = region.length // PAGE_SIZE
    places: Counter[int] = Counter()
    for first in range(0, nr_pages, PAGES_AT_ONCE):
        places.update(await _nodes(process, region, first, min(nr_pages - first, PAGES_AT_ONCE)))
    resident = sum(count for nid, count in places.items() if nid >= 0)
    fields: Fields = [
        *((f"n{nid}", places[nid]) for nid in range(NODES_TOLD)),
        ("resident", resident),
        ("of", nr_pages),
    ]
    return Outcome(resident, fields=tuple(fields))


async def wherehead(process: ProcessHandle, region: MappedRange, step: Step) -> Outcome:
    """Tell the node of each of the first pages of a region."""
    nr_pages = min(number_of(step.args[1]), HEAD_PAGES_MAX)
    nids = await _nodes(process, region, 0, nr_pages)
    return Outcome(fields=(("nodes", "".join(f"{nid}," for nid in nids)),))


async def movepages(process: ProcessHandle, region: MappedRange, step: Step) -> Outcome:
    """Move the pages of a region, of its own or of another process, to a node; tell what is left.

    Raises:
        SyscallError: There is no such process or node, or it is another user's process.
    """
    _, nid, pid = step.args
    nr_pages, nr_left, nr_there = region.length // PAGE_SIZE, 0, 0
    for first in range(0, nr_pages, PAGES_AT_ONCE):
        nr = min(nr_pages - first, PAGES_AT_ONCE)
        addresses = region.address + PAGE_SIZE * (first + np.arange(nr, dtype=np.int64))
        nodes = np.full(nr, number_of(nid))
        told = await process.syscall("move_pages", number_of(pid or 0), addresses, nodes)
        nr_left += told.nr_left
        nr_there += int((told.status == nodes).sum())
    return Outcome(nr_left, fields=(("there", nr_there), ("of", nr_pages)))


async def _nodes(process: ProcessHandle, region: MappedRange, first: int, nr: int) -> list[int]:
    """Return the node of each of some pages, or the negative errno that stands for it."""
    addresses = region.address + PAGE_SIZE * (first + np.arange(nr, dtype=np.int64))
    told = await process.syscall("move_pages", 0, addresses)
    return [int(nid) for nid in told.status]


NUMA_STEPS: Final[dict[str, Callable[[ProcessHandle, MappedRange, Step], Awaitable[Outcome]]]] = {
    "where": where,
    "wherehead": wherehead,
    "movepages": movepages,
}
