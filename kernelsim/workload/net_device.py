"""The handle of a network card: packets that come in, and what becomes of them.

    card = machine.net_device("eth0")
    got = await card.receive(1000, every="10us")    # got.rx_packets, got.rx_dropped
    await card.consume()                            # readers take what came: pages are free again

Units: packets of one page; ns, or text such as "10us".
"""

from kernelsim.actors.alloc.net_device import NetDevice, NetStatistics
from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.messages.net_device import Consume, Receive
from kernelsim.errors import ConfigError
from kernelsim.units import parse_duration
from kernelsim.workload.arguments import cpus_of, whole_number
from kernelsim.workload.panic import until_panic


class NetDeviceHandle:
    """One card, seen from a workload.

    Args:
        kernel: The machine.
        device: Its actor.
    """

    def __init__(self, kernel: Kernel, device: NetDevice) -> None:
        self._kernel = kernel
        self._device = device

    @property
    def stats(self) -> NetStatistics:
        """What it has done since the start, as it is now."""
        return self._device.statistics

    async def receive(self, packets: int, *, every: int | str) -> NetStatistics:
        """Let packets come in, one each interval; return what became of these when all came."""
        nr = whole_number("packets", packets, 0)
        with until_panic(self._kernel):
            answer: NetStatistics = await self._device.ref.ask(Receive(nr, parse_duration(every)))
        return answer

    async def consume(self, packets: int | None = None) -> int:
        """Let readers take the oldest packets, or all, which frees their pages; return how many."""
        nr = None if packets is None else whole_number("packets", packets, 0)
        with until_panic(self._kernel):
            return int(await self._device.ref.ask(Consume(nr)))


def plug_net_device(kernel: Kernel, name: str, cpu: int) -> NetDeviceHandle:
    """Start the actor of a card whose interrupts go to a CPU; return its handle.

    Raises:
        ConfigError: There is no such CPU, or the name is none, or taken.
    """
    is_name = isinstance(name, str) and name.isidentifier()
    taken = {*kernel.engine.actors, *kernel.cpu_numbers}
    if not is_name or name in taken:
        raise ConfigError("net_device", name, 'must be a name that is free, such as "eth0"')
    [target] = cpus_of(kernel, "cpu", whole_number("cpu", cpu, 0))
    device = NetDevice(kernel, name, target)
    kernel.engine.spawn(device)
    return NetDeviceHandle(kernel, device)
