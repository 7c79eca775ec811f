"""Tests of the links between nodes."""

from kernelsim.actors.messages.interconnect import Transfer
from kernelsim.actors.parts.interconnect import Interconnect
from kernelsim.config.latency import LatencySpec
from kernelsim.mm.burst.columns import new_burst
from kernelsim.mm.burst.servers import link
from kernelsim.sim.actor import Actor
from kernelsim.sim.engine import Engine

COSTS = LatencySpec(interconnect_bandwidth_bytes_per_s=10**9)  # a byte a ns


class Sender(Actor):
    """Sends once and notes when it was through."""

    def __init__(self, name, links, transfer, log):
        super().__init__(name)
        self._links, self._transfer, self._log = links, transfer, log

    async def run(self):
        """Send."""
        await self._links.ref.ask(self._transfer)
        self._log[self.name] = self.engine.now_ns


def arrivals(*transfers):
    """Start all transfers at time 0; return when each had passed, and the links."""
    log = {}
    links = Interconnect(COSTS, new_burst(nr_cpus=1, nr_nodes=3, nr_zones=3))

    async def main(engine):
        engine.spawn(links)
        senders = [
            engine.spawn(Sender(f"cpu{n}", links, Transfer(source, target, size, f"cpu{n}"), log))
            for n, (source, target, size) in enumerate(transfers)
        ]
        for sender in senders:
            await sender.join()

    Engine().run(main)
    return [log[f"cpu{n}"] for n in range(len(transfers))], links.links


def test_a_transfer_takes_its_bytes_over_the_bandwidth():
    """Nobody else on the link: no wait."""
    times, links = arrivals((0, 1, 4096))
    assert times == [4096]
    assert links[0, 1].account.wait_ns == 0


def test_transfers_over_one_link_queue():
    """The second waits for all of the first; the account tells."""
    times, links = arrivals((0, 1, 4096), (0, 1, 1000))
    assert times == [4096, 5096]
    assert links[0, 1].account.by_pair == {("cpu1", "cpu0"): 4096}


def test_directions_and_pairs_of_nodes_are_links_of_their_own():
    """Nothing to wait for."""
    times, links = arrivals((0, 1, 4096), (1, 0, 4096), (0, 2, 4096))
    assert times == [4096, 4096, 4096]
    assert sorted(links) == [(0, 1), (0, 2), (1, 0)]


def test_a_link_that_a_burst_has_used_already_stays_in_use():
    """Its server is made when the accounts of the burst are entered, and changes no turn."""
    burst = new_burst(nr_cpus=1, nr_nodes=3, nr_zones=3)

    async def main(engine):
        links = Interconnect(COSTS, burst)
        engine.spawn(links)
        burst.free_ns[link(burst, 0, 1)] = 5000
        return links.server(0, 1).free_ns

    assert Engine().run(main) == 5000
