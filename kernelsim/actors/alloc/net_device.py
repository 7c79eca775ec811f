"""A network card: its interrupts need pages at once, whatever the machine is doing.

Linux: drivers/net (a driver's receive path), net/core/skbuff.c:__netdev_alloc_frag_align, 6.1.
Each packet interrupts the card's CPU. The handler may not sleep: it asks with GFP_ATOMIC, which
goes below the min watermark; when even that is used up it gets nothing, and the packet is dropped.
# Differs from Linux: A network card interrupts once a packet, there is no polling (NAPI); the
# handler runs also while its CPU holds a lock with interrupts off. No reader takes packets while a
# card is to receive some; it waits until the last one has come.
Owns: the pages of packets that nobody has read; its counters.
Interface: ask `Receive`, `Consume`; `NetStatistics`.
Units: packets of one page, ns.
"""

from collections import deque
from typing import Any, Final

import attrs
import numpy as np

from kernelsim.actors.alloc.kernel_pages import alloc_kernel_pages, free_kernel_pages
from kernelsim.actors.core.current import Current
from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.core.task import Task
from kernelsim.actors.messages.net_device import Consume, Receive
from kernelsim.actors.parts.cpu import Cpu
from kernelsim.mm.page.gfp import GFP_ATOMIC
from kernelsim.sim.actor import Actor

# Handler and protocols, a packet; a core receives about a million small ones a second
# (M. Majkowski, How to receive a million packets per second, Cloudflare, 2015).
PACKET_NS: Final = 1_000


@attrs.frozen
class NetStatistics:
    """What a card has done, since the start or in one `Receive`; does not change later.

    Attributes:
        rx_packets: Packets received.
        rx_dropped: Packets dropped, since there was no page for them.
        alloc_ns_max: The longest that an allocation took, also one that failed.
    """

    rx_packets: int = 0
    rx_dropped: int = 0
    alloc_ns_max: int = 0

    def __add__(self, other: "NetStatistics") -> "NetStatistics":
        """Return what both are together."""
        return NetStatistics(
            self.rx_packets + other.rx_packets,
            self.rx_dropped + other.rx_dropped,
            max(self.alloc_ns_max, other.alloc_ns_max),
        )


class NetDevice(Actor):
    """The actor of one card with its driver.

    Args:
        kernel: The machine.
        name: Such as "eth0".
        cpu: Where its interrupts go.
    """

    def __init__(self, kernel: Kernel, name: str, cpu: Cpu) -> None:
        super().__init__(name)
        self.statistics = NetStatistics()
        self._kernel = kernel
        self._cpu = cpu
        handler = Task(kernel.engine, name, 0, [cpu])
        handler.in_interrupt = True
        self._current = Current(kernel, handler)
        self._unread: deque[int] = deque()  # frames, the oldest first

    async def receive(self, message: Any) -> Any:  # noqa: ANN401 - Receive or Consume
        """Serve a message."""
        if isinstance(message, Receive):
            return await self._receive(message)
        assert isinstance(message, Consume)
        return await self._consume(message)

    async def _receive(self, message: Receive) -> NetStatistics:
        """Take packets as they come; return what became of them."""
        received = NetStatistics()
        next_ns = self.engine.now_ns
        for _ in range(message.nr):
            next_ns += message.interval_ns
            await self.engine.sleep(max(0, next_ns - self.engine.now_ns))
            packet = await self._interrupt()
            received += packet
            self.statistics += packet
        return received

    async def _interrupt(self) -> NetStatistics:
        """Find room for one packet, in the time of whatever runs on the CPU."""
        end_ns = self._cpu.interrupt(PACKET_NS)
        await self.engine.sleep(end_ns - self.engine.now_ns)
        began_ns = self.engine.now_ns
        pfns: list[int] = (await alloc_kernel_pages(self._current, GFP_ATOMIC, 1)).tolist()
        spent_ns = self.engine.now_ns - began_ns
        self._cpu.steal(spent_ns)
        self._unread += pfns
        return NetStatistics(len(pfns), 1 - len(pfns), spent_ns)

    async def _consume(self, message: Consume) -> int:
        nr = len(self._unread)
        nr = nr if message.nr is None else min(nr, message.nr)
        read = [self._unread.popleft() for _ in range(nr)]
        if read:
            await free_kernel_pages(self._current, np.array(read, np.int64))
        return nr
