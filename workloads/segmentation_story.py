"""Segments without pages: memory is free, and yet a program of 200 MB cannot start.

A machine of 1 GB gives each program one piece of memory. A browser of 128 MB ends between a game
and a music player: 256 MB are free then, in two holes of 128. The way out is to write the player's
256 MB to swap and to read them back right behind the game. All of it has to be written and read,
which takes the disk's time; with pages only what is missing would move, and nothing need be in one
piece. The player's program notices nothing: its selector and its offsets stay, the base changes.
"""

import attrs

from kernelsim.errors import CheckFailedError
from kernelsim.hw.contiguous_memory import ContiguousMemory
from kernelsim.hw.segmentation import SegmentDescriptor, SegmentTable, Selector
from kernelsim.hw.translation import WRITE
from kernelsim.sim.actor import Actor, ActorRef, At
from kernelsim.sim.engine import Engine
from kernelsim.sim.locks import FifoServer
from kernelsim.units import NS_PER_S
from kernelsim.workload import simulation

MB = 1 << 20
MEMORY = 1024 * MB
DISK_BYTES_PER_S = 200 * MB  # a hard disk, in order
SIZES = {"game": 512 * MB, "browser": 128 * MB, "music": 256 * MB, "editor": 200 * MB}
COLUMNS = 64  # of the picture, 16 MB each
TABLE = 0x1000  # where the segment table is


@attrs.frozen
class Start:
    """Give a program its segment; answered with the selector's index, 0 if there is no room."""

    name: str


@attrs.frozen
class Stop:
    """Take a program's segment back."""

    index: int


@attrs.frozen
class Transfer:
    """Write a segment to swap, or read it; answered when that is done."""

    name: str


class Disk(Actor):
    """The swap disk: one transfer after the other."""

    queue: FifoServer

    async def on_start(self) -> None:
        """Make its queue."""
        self.queue = self.engine.server("disk")

    def receive(self, message: Transfer) -> At:
        """Transfer a whole segment."""
        took_ns = SIZES[message.name] * NS_PER_S // DISK_BYTES_PER_S
        _, end_ns = self.queue.reserve(took_ns, message.name)
        return At(end_ns, None)


class Loader(Actor):
    """Owns the memory and the segment table; swaps a segment elsewhere to join two holes.

    Args:
        name: Its own.
        disk: Where segments are swapped to.
        may_swap: It does so.
    """

    def __init__(self, name: str, disk: ActorRef, *, may_swap: bool) -> None:
        super().__init__(name)
        self.memory = ContiguousMemory(MEMORY)
        self.table = SegmentTable(TABLE, (SegmentDescriptor(0, 0, is_present=False),) * len(SIZES))
        self._disk, self._may_swap = disk, may_swap
        self._names: dict[int, str] = {}

    async def receive(self, message: Start | Stop) -> int:
        """Load or unload a program."""
        if isinstance(message, Stop):
            self.memory.free(self.table[message.index].base)
            self.table.put(message.index, SegmentDescriptor(0, 0, is_present=False))
            self._show(f"{self._names.pop(message.index)} ends")
            return 0
        name, size = message.name, SIZES[message.name]
        start = self.memory.place(name, size)
        free = self.memory.free_bytes()
        if start < 0 and self._may_swap and free["all"] >= size:
            await self._join_holes()
            start = self.memory.place(name, size)
        if start < 0:
            self.log("no_room", name=name, free_mb=free["all"] // MB, hole_mb=free["largest"] // MB)
            return 0
        index = 1 + list(SIZES).index(name)
        self._names[index] = name
        self.table.put(index, SegmentDescriptor(start, size))
        self._show(f"{name} starts")
        return index

    async def _join_holes(self) -> None:
        """Swap out what lies behind the first hole, and in again at the hole's start."""
        hole = self.memory.holes()[0]
        index = next(i for i in self._names if self.table[i].base == hole.start + hole.size)
        segment, name = self.table[index], self._names[index]
        self.table.put(index, attrs.evolve(segment, is_present=False))
        await self._disk.ask(Transfer(name))
        self.memory.free(segment.base)
        self._show(f"{name} is on swap")
        base = self.memory.place(name, segment.size)
        await self._disk.ask(Transfer(name))
        self.table.put(index, attrs.evolve(segment, base=base))
        self._show(f"{name} is back")

    def _show(self, when: str) -> None:
        """Log a picture of memory: a letter for each 16 MB, a dot where nobody is."""
        parts = [
            (each.name[:1] or ".") * (each.size * COLUMNS // MEMORY)
            for each in self.memory.pieces()
        ]
        self.log("memory", map="".join(parts), when=when)


async def tell(engine: Engine, loader_actor: Loader) -> bool:
    """Let the four programs come and go; return whether the last one could start."""
    loader = engine.spawn(loader_actor)
    indices = {name: await loader.ask(Start(name)) for name in ("game", "browser", "music")}
    before = loader_actor.table.translate(Selector(indices["music"]), 100 * MB, WRITE)
    await loader.ask(Stop(indices["browser"]))
    started = bool(await loader.ask(Start("editor")))
    after = loader_actor.table.translate(Selector(indices["music"]), 100 * MB, WRITE)
    loader_actor.log("byte", offset=100 * MB, was_at=before.address, is_at=after.address)
    if bool(before.exception or after.exception):
        raise CheckFailedError("the music player lost its segment")
    return started


@simulation
async def main(engine: Engine) -> None:
    """Without swapping there is no room, with it there is."""
    disk = engine.spawn(Disk("disk"))
    if await tell(engine, Loader("no_swap", disk, may_swap=False)):
        raise CheckFailedError("200 MB fitted a hole of 128")
    if not await tell(engine, Loader("swap", disk, may_swap=True)):
        raise CheckFailedError("the holes were not joined")
