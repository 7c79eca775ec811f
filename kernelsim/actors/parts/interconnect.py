"""The interconnect: carries memory traffic over buses and links of limited bandwidth.

A link between nodes is a first come, first served server in each direction, so remote traffic of
several CPUs queues. The CPUs of a node may share a bus, the link of the node to itself; without one
nothing passes here on a machine of one node.
Owns: the links and the buses.
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


class Interconnect(Actor):
    """The actor of all links.

    Args:
        latency: Bandwidth of a link, and of a bus.
        burst: Knows when each link is free.
    """

    def __init__(self, latency: LatencySpec, burst: Burst) -> None:
        super().__init__("interconnect")
        self.links: dict[tuple[int, int], SharedServer] = {}
        self._burst = burst
        self._latency = latency

    def receive(self, message: Any) -> At:  # noqa: ANN401 - a Transfer
        """Serve a transfer in its turn on the link."""
        assert isinstance(message, Transfer)
        server = self.server(message.source, message.target)
        is_near = message.source == message.target
        hold_ns, _ = self._latency.passing_ns(message.size_bytes, is_near=is_near)
        return At(server.reserve(hold_ns, message.user)[1], None)

    def server(self, source: int, target: int) -> SharedServer:
        """Return the link from one node to another, or the bus of a node."""
        server = self.links.get((source, target))
        if server is None:
            name = f"node {source} bus" if source == target else f"link{source}-{target}"
            index = link(self._burst, source, target)
            engine = self.engine
            server = SharedServer(engine.clock, name, engine.account(name), self._burst, index)
            self.links[source, target] = server
        return server
