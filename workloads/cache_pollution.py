"""A backup reads files once, beside a server whose working set fits the cache: who pays?

A server reads 500 pages by popularity; a backup passes once over 10,000 others within a second.
The same reads go to two caches of 1,000 pages: a single LRU list, in which the backup's pages push
out the server's, and the two lists of Linux, where a page read once stays inactive and goes. The
log has the server's hit rate, second by second.
"""

from kernelsim.errors import CheckFailedError
from kernelsim.sim.actor import Actor, ActorRef
from kernelsim.sim.engine import Engine
from kernelsim.units import NS_PER_S, NS_PER_US
from kernelsim.user.cache.made_traces import MADE_TRACES, TraceShape
from kernelsim.user.cache.policies import POLICIES
from kernelsim.workload import simulation

CACHE_PAGES = 1000
HOT_PAGES = 500
BACKUP_PAGES = 10_000
SERVER_EVERY_NS = 500 * NS_PER_US
BACKUP_EVERY_NS = 100 * NS_PER_US
BACKUP_AT_S = 3
END_S = 6
MUCH = 20  # percent
HARDLY_ANYTHING = 5
NAMES = ("lru", "two_lists")


class PageCaches(Actor):
    """Serves each page from every cache; answers which of them had it."""

    async def on_start(self) -> None:
        """Begin empty."""
        self.caches = [POLICIES[name](CACHE_PAGES) for name in NAMES]

    def receive(self, page: int) -> list[bool]:
        """Read a page."""
        return [cache.access(page, self.engine.now_ns) for cache in self.caches]


class Server(Actor):
    """Reads pages by their popularity.

    Args:
        files: Where pages come from.
        rates: Gets a hit rate a cache, in percent, for each second.
    """

    def __init__(self, files: ActorRef, rates: list[list[int]]) -> None:
        super().__init__("server")
        self.files = files
        self.rates = rates

    async def run(self) -> None:
        """Read until the end."""
        reads_a_second = NS_PER_S // SERVER_EVERY_NS
        shape = TraceShape(HOT_PAGES, END_S * reads_a_second, self.engine.rng(self.name))
        hits = [0] * len(NAMES)
        for number, request in enumerate(MADE_TRACES["zipf"](shape), start=1):
            was_there = await self.files.ask(request.page)
            hits = [before + new for before, new in zip(hits, was_there, strict=True)]
            await self.engine.sleep(SERVER_EVERY_NS)
            if number % reads_a_second == 0:
                self.rates.append([nr_hits * 100 // reads_a_second for nr_hits in hits])
                self.log("hit_rate", **dict(zip(NAMES, self.rates[-1], strict=True)))
                hits = [0] * len(NAMES)


class Backup(Actor):
    """Reads all other pages once."""

    def __init__(self, files: ActorRef) -> None:
        super().__init__("backup")
        self.files = files

    async def run(self) -> None:
        """Wait for its hour, then read."""
        await self.engine.sleep(BACKUP_AT_S * NS_PER_S)
        for page in range(HOT_PAGES, HOT_PAGES + BACKUP_PAGES):
            await self.files.ask(page)
            await self.engine.sleep(BACKUP_EVERY_NS)


@simulation
async def main(engine: Engine) -> None:
    """Serve alone, beside the backup, alone again."""
    files = engine.spawn(PageCaches("page_caches"))
    rates: list[list[int]] = []
    server = engine.spawn(Server(files, rates))
    engine.spawn(Backup(files))
    await server.join()
    before, beside = rates[BACKUP_AT_S - 1 : BACKUP_AT_S + 1]
    lost = {name: then - now for name, then, now in zip(NAMES, before, beside, strict=True)}
    if lost["lru"] < MUCH:
        raise CheckFailedError(f"a single list loses much of what is in use to a backup: {lost}")
    if lost["two_lists"] > HARDLY_ANYTHING:
        raise CheckFailedError(f"two lists lose hardly anything of it: {lost}")
