"""Direct memory access of a disk: its data on the bus that the CPUs share, and at the controller.

There is one a disk, on machines that have such a bus; one request's data goes after the other's.
Differs: All data of disks goes to memory of node 0, where they are plugged in.
Owns: nothing; requests whose data has yet to move wait in its mailbox.
Interface: tell `MoveData`; the disk is told `DataMoved` when the last byte has passed.
Units: bytes, ns.
"""

from typing import Any

from kernelsim.actors.messages.block_device import DataMoved, MoveData
from kernelsim.actors.messages.interconnect import Transfer
from kernelsim.actors.messages.node import MemoryTraffic
from kernelsim.sim.actor import Actor, ActorRef

NID = 0  # of the bus that disks are plugged in at


class Dma(Actor):
    """The actor that moves the data of one disk.

    Args:
        disk: Whose data.
        interconnect: Has the bus.
        node: Has the controller.
    """

    def __init__(self, disk: ActorRef, interconnect: ActorRef, node: ActorRef) -> None:
        super().__init__(f"{disk.name} DMA")
        self._disk = disk
        self._interconnect = interconnect
        self._node = node

    async def receive(self, message: Any) -> None:  # noqa: ANN401 - a MoveData
        """Move the data of a request."""
        assert isinstance(message, MoveData)
        size_bytes = message.size_bytes
        await self._interconnect.ask(Transfer(NID, NID, size_bytes, self.name))
        await self._node.ask(MemoryTraffic(size_bytes, self.name))
        self._disk.tell(DataMoved(message.request, message.ready_ns))
