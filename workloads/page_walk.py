"""What a reference costs when no TLB helps: segments, pages of one to five levels, and both.

Each entry that the translation unit reads, and the data itself, is an access to memory, 80 ns each,
one after the other. Segments and pages together take three; two levels of tables take two before
the data, four levels four. Below stands what the tables of each kind take.
"""

import attrs

from kernelsim.errors import CheckFailedError
from kernelsim.hw.paging import MODES, Mapping, PageTable
from kernelsim.hw.segmentation import CODE, SegmentDescriptor, SegmentTable, Selector
from kernelsim.hw.segmented_paging import SegmentedPaging
from kernelsim.hw.translation import EXECUTE, READ, WRITE, Translation
from kernelsim.sim.actor import Actor, At
from kernelsim.sim.engine import Engine
from kernelsim.sim.locks import FifoServer
from kernelsim.workload import simulation

DRAM_NS = 80
MIB = 1 << 20
FRAME = 0x1234
ADDRESS = 0x0804_8123  # in the text of a 32-bit program
PARTS = 1024  # tables of the second level
ENTRIES = {"one level": 1, "two levels": 2, "PAE": 3, "four levels": 4, "five levels": 5}


@attrs.frozen
class Reference:
    """A reference to memory; answered when the data, or the exception, is there."""

    kind: str
    translation: Translation


class Memory(Actor):
    """Reads entries and data, one access after the other."""

    bus: FifoServer

    async def on_start(self) -> None:
        """Make the bus."""
        self.bus = self.engine.server("memory")

    def receive(self, message: Reference) -> At:
        """Do all accesses of a reference."""
        found = message.translation
        _, end_ns = self.bus.reserve(DRAM_NS * found.accesses, message.kind)
        read = " ".join(f"{step.table.replace(' ', '_')}[{step.index}]" for step in found.steps)
        self.log(
            "reference",
            kind=message.kind,
            read=read,
            accesses=found.accesses,
            took_ns=end_ns - self.engine.now_ns,
            end=found.exception or hex(found.address),
        )
        return At(end_ns, None)


def references() -> dict[str, Translation]:
    """Return one reference of each kind, and some that end in an exception."""
    segments = SegmentTable(
        0x1000, (SegmentDescriptor(0x80_0000, MIB, CODE), SegmentDescriptor(0, MIB))
    )
    code, data = Selector(1), Selector(2)
    found = {
        "segments": segments.translate(code, 0x123, EXECUTE),
        "segments, beyond the limit": segments.translate(data, 2 * MIB, READ),
        "segments, a store to code": segments.translate(code, 0x123, WRITE),
    }
    for name in ENTRIES:
        table = PageTable(MODES[name])
        table.map(ADDRESS, Mapping(FRAME, writable=False))
        found[name] = table.translate(ADDRESS)
    found["five levels, a store to text"] = table.translate(ADDRESS, WRITE)
    found["four levels, not mapped"] = PageTable(MODES["four levels"]).translate(ADDRESS)
    found["four levels, not canonical"] = PageTable(MODES["four levels"]).translate(1 << 47)
    pages = PageTable(MODES["one level"])
    pages.map(0x2345, Mapping(FRAME))
    both = SegmentedPaging(SegmentTable(0x1000, (SegmentDescriptor(0, MIB),)), {1: pages})
    found["segments and pages"] = both.translate(Selector(1), 0x2345)
    return found


def table_bytes(name: str, share: float) -> int:
    """Return what the tables take when one page is mapped in a share of the address space."""
    table = PageTable(MODES[name])
    for part in range(round(PARTS * share)):
        table.map(part << 22, Mapping(FRAME))
    return table.nr_bytes


@simulation
async def main(engine: Engine) -> None:
    """Do each reference; then weigh the tables."""
    actor = Memory("mmu")
    memory = engine.spawn(actor)
    found = references()
    for kind, translation in found.items():
        await memory.ask(Reference(kind, translation))
    for name in ("one level", "two levels"):
        for percent in (100, 20, 0):
            nr_bytes = table_bytes(name, percent / 100)
            actor.log("tables", kind=name, used_percent=percent, kib=nr_bytes // 1024)
    wrong = [name for name, nr in ENTRIES.items() if found[name].accesses != nr + 1]
    if wrong or found["segments and pages"].accesses != 1 + 1 + 1:
        raise CheckFailedError(f"another number of accesses: {wrong}")
