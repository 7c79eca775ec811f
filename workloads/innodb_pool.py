"""A dump reads a table row by row, beside a shop: single LRU, Linux and InnoDB on one trace.

A page of a table holds many rows, so the dump uses each of its pages several times, but all within
a moment. That makes it active for Linux, which asks for a second use only, and pushes pages of the
shop out. InnoDB moves a page to the young part of its list only if it is used a second or more
after its first use. The pools are of 1,000 pages: the note's 7:3 of young and old, MySQL's 5:3, and
5:3 without that second (innodb_old_blocks_time = 0). The log has the shop's hit rate by the second.
"""

from functools import partial

from kernelsim.errors import CheckFailedError
from kernelsim.sim.actor import Actor, ActorRef
from kernelsim.sim.engine import Engine
from kernelsim.units import NS_PER_S, NS_PER_US
from kernelsim.user.cache.innodb import Innodb
from kernelsim.user.cache.made_traces import MADE_TRACES, TraceShape
from kernelsim.user.cache.policies import POLICIES
from kernelsim.workload import simulation

POOL_PAGES = 1000
SHOP_PAGES = 1500
TABLE_PAGES = 4000
ROWS = 3  # reads of a page by the dump
SHOP_EVERY_NS = 500 * NS_PER_US
DUMP_EVERY_NS = 250 * NS_PER_US
DUMP_AT_S = 4
END_S = 9
POOLS = {name: POLICIES[name] for name in ("lru", "two_lists", "innodb_7_3", "innodb")} | {
    "innodb_0s": partial(Innodb, old_blocks_time_ns=0)
}


class Pools(Actor):
    """Serves each page from every pool; answers which of them had it."""

    async def on_start(self) -> None:
        """Begin empty."""
        self.pools = [make(POOL_PAGES) for make in POOLS.values()]

    def receive(self, page: int) -> list[bool]:
        """Read a page at this moment of virtual time."""
        return [pool.access(page, self.engine.now_ns) for pool in self.pools]


class Shop(Actor):
    """Reads pages by their popularity.

    Args:
        pools: Where pages come from.
        rates: Gets a hit rate by pool, in percent, for each second.
    """

    def __init__(self, pools: ActorRef, rates: list[dict[str, int]]) -> None:
        super().__init__("shop")
        self.pools = pools
        self.rates = rates

    async def run(self) -> None:
        """Read until the end."""
        reads_a_second = NS_PER_S // SHOP_EVERY_NS
        shape = TraceShape(SHOP_PAGES, END_S * reads_a_second, self.engine.rng(self.name))
        hits = [0] * len(POOLS)
        for number, request in enumerate(MADE_TRACES["zipf"](shape), start=1):
            was_there = await self.pools.ask(request.page)
            hits = [before + new for before, new in zip(hits, was_there, strict=True)]
            await self.engine.sleep(SHOP_EVERY_NS)
            if number % reads_a_second == 0:
                rates = [nr_hits * 100 // reads_a_second for nr_hits in hits]
                self.rates.append(dict(zip(POOLS, rates, strict=True)))
                self.log("hit_rate", **self.rates[-1])
                hits = [0] * len(POOLS)


class Dump(Actor):
    """Reads a table from end to end, each page a few times."""

    def __init__(self, pools: ActorRef) -> None:
        super().__init__("dump")
        self.pools = pools

    async def run(self) -> None:
        """Wait for its hour, then read."""
        await self.engine.sleep(DUMP_AT_S * NS_PER_S)
        for page in range(SHOP_PAGES, SHOP_PAGES + TABLE_PAGES):
            for _ in range(ROWS):
                await self.pools.ask(page)
                await self.engine.sleep(DUMP_EVERY_NS)


@simulation
async def main(engine: Engine) -> None:
    """Sell alone, beside the dump, alone again."""
    pools = engine.spawn(Pools("pools"))
    rates: list[dict[str, int]] = []
    shop = engine.spawn(Shop(pools, rates))
    engine.spawn(Dump(pools))
    await shop.join()
    lost = {name: rates[DUMP_AT_S - 1][name] - rates[DUMP_AT_S + 1][name] for name in POOLS}
    if 2 * max(lost["innodb"], lost["innodb_7_3"]) > min(lost["lru"], lost["two_lists"]):
        raise CheckFailedError(f"InnoDB loses less than half of what others lose: {lost}")
    if 2 * lost["innodb"] > lost["innodb_0s"]:
        raise CheckFailedError(f"it is the second between two uses that makes it so: {lost}")
