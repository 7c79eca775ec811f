"""The interconnect: carries memory traffic between nodes over links of limited bandwidth.

A link is a first come, first served server in each direction, so remote traffic of several CPUs
queues. On a machine of one node nothing passes here.
Interface: ask `Transfer`; the answer comes when the last byte has passed.
Units: bytes, ns.
"""

from typing import Any

from kernelsim.actors.messages.interconnect import Transfer
from kernelsim.config.latency import LatencySpec
from kernelsim.sim.actor import Actor, At
from kernelsim.sim.locks import FifoServer
from kernelsim.units import NS_PER_S


class Interconnect(Actor):
    """The actor of all links.

    Args:
        latency: Bandwidth of a link.
    """

    def __init__(self, latency: LatencySpec) -> None:
        super().__init__("interconnect")
        self.links: dict[tuple[int, int], FifoServer] = {}
        self._bytes_per_s = latency.interconnect_bandwidth_bytes_per_s

    def receive(self, message: Any) -> At:  # noqa: ANN401 - a Transfer
        """Serve a transfer in its turn on the link."""
        assert isinstance(message, Transfer)
        key = (message.source, message.target)
        link = self.links.get(key)
        if link is None:
            link = self.links[key] = self.engine.server(f"link{key[0]}-{key[1]}")
        hold_ns = message.size_bytes * NS_PER_S // self._bytes_per_s
        return At(link.reserve(hold_ns, message.user)[1], None)
