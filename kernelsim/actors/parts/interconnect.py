"""The interconnect: carries memory traffic between nodes over links of limited bandwidth.

A link is a first come, first served server in each direction, so remote traffic of several CPUs
queues. On a machine of one node nothing passes here.
Owns: the links.
Interface: ask `Transfer`; the answer comes when the last byte has passed.
Units: bytes, ns.
"""

from typing import Any

from kernelsim.actors.messages.interconnect import Transfer
from kernelsim.actors.parts.shared_server import SharedServer
from kernelsim.config.latency import LatencySpec
from kernelsim.mm.burst.columns import Burst
from kernelsim.mm.burst.servers import link
from kernelsim.sim.actor import Actor, At
from kernelsim.units import NS_PER_S


class Interconnect(Actor):
    """The actor of all links.

    Args:
        latency: Bandwidth of a link.
        burst: Knows when each link is free.
    """

    def __init__(self, latency: LatencySpec, burst: Burst) -> None:
        super().__init__("interconnect")
        self.links: dict[tuple[int, int], SharedServer] = {}
        self._burst = burst
        self._bytes_per_s = latency.interconnect_bandwidth_bytes_per_s

    def receive(self, message: Any) -> At:  # noqa: ANN401 - a Transfer
        """Serve a transfer in its turn on the link."""
        assert isinstance(message, Transfer)
        server = self.server(message.source, message.target)
        hold_ns = message.size_bytes * NS_PER_S // self._bytes_per_s
        return At(server.reserve(hold_ns, message.user)[1], None)

    def server(self, source: int, target: int) -> SharedServer:
        """Return the link from one node to another."""
        server = self.links.get((source, target))
        if server is None:
            name, index = f"link{source}-{target}", link(self._burst, source, target)
            engine = self.engine
            server = SharedServer(engine.clock, name, engine.account(name), self._burst, index)
            self.links[source, target] = server
        return server
