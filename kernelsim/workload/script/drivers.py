"""What the kernel does for itself while a script runs: blocks of high order, packets that come in.

Each block is allocated by a thread of the kernel and stays until it is given back; whoever asked
may be killed meanwhile. Packets come to one network card, in interrupts.
Interface: `Drivers`, one a run; `DRIVER_STEPS` says which function does which step.
Units: pages as a logarithm, us.
"""

from collections.abc import Awaitable, Callable
from typing import Final

from kernelsim.mm.core.mem import I64, MAX_ORDER
from kernelsim.workload.kernel_thread import KernelThreadHandle
from kernelsim.workload.machine import MachineHandle
from kernelsim.workload.net_device import NetDeviceHandle
from kernelsim.workload.script.script_steps import Step
from kernelsim.workload.script.step_work import Outcome, number_of

DRIVER: Final = "driver"
CARD: Final = "eth0"
ATOMIC: Final = "GFP_ATOMIC"
SLEEPS: Final = "GFP_KERNEL"


class Drivers:
    """The threads and the card of one run.

    Args:
        machine: Where they are.

    Attributes:
        nr_blocks: Blocks that were had so far.
        nr_failed: Those that could not be.
        nr_dropped: Packets that found no page.
    """

    def __init__(self, machine: MachineHandle) -> None:
        self.nr_blocks = self.nr_failed = self.nr_dropped = 0
        self._machine = machine
        self._held: list[tuple[KernelThreadHandle, I64]] = []
        self._threads: list[KernelThreadHandle] = []
        self._card: NetDeviceHandle | None = None
        self._nr_busy = 0
        self._has_stopped = False

    async def alloc_blocks(self, order: int, count: int, *, atomic: bool) -> None:
        """Have a thread of its own allocate blocks of an order, and keep those it gets."""
        if self._is_over():
            return
        thread = self._machine.kernel_thread(DRIVER)
        self._threads.append(thread)
        self._nr_busy += 1
        for _ in range(count):
            if self._is_over():
                break
            block = await thread.alloc_block(order, ATOMIC if atomic else SLEEPS)
            self.nr_failed += block is None
            if block is not None:
                self.nr_blocks += 1
                self._held.append((thread, block))
        self._nr_busy -= 1

    async def free_blocks(self, count: int) -> None:
        """Give the oldest blocks back."""
        for thread, block in [self._held.pop(0) for _ in range(min(count, len(self._held)))]:
            self._nr_busy += 1
            await thread.free_block(block)
            self._nr_busy -= 1

    async def receive(self, packets: int, every_us: int) -> None:
        """Let packets come in at a rate, and readers take most of them."""
        if self._is_over():
            return
        if self._card is None:
            self._card = self._machine.net_device(CARD)
        self._nr_busy += 1
        got = await self._card.receive(packets, every=f"{every_us}us")
        self.nr_dropped += got.rx_dropped
        await self._card.consume(packets // 2)
        self._nr_busy -= 1

    async def stop(self) -> None:
        """Wait for what is under way, give all back, and end the threads."""
        self._has_stopped = True
        while self._nr_busy:
            await self._machine.sleep("1ms")
        await self.free_blocks(len(self._held))
        if self._card is not None:
            await self._card.consume()
        for thread in self._threads:
            await thread.stop()

    def _is_over(self) -> bool:
        """Tell whether nothing new is to be begun, which may change while somebody waits."""
        return self._has_stopped


async def kblock(drivers: Drivers, step: Step) -> Outcome:
    """Have the kernel allocate blocks that follow each other."""
    order, count, word = step.args
    before = drivers.nr_blocks
    await drivers.alloc_blocks(
        min(number_of(order), MAX_ORDER - 1), number_of(count), atomic=word is not None
    )
    return Outcome(fields=(("blocks", drivers.nr_blocks - before),))


async def kfree(drivers: Drivers, step: Step) -> Outcome:
    """Have the kernel free the oldest of them."""
    await drivers.free_blocks(number_of(step.args[0]))
    return Outcome()


async def netrx(drivers: Drivers, step: Step) -> Outcome:
    """Let packets come in."""
    before = drivers.nr_dropped
    await drivers.receive(*map(number_of, step.args))
    return Outcome(fields=(("dropped", drivers.nr_dropped - before),))


DRIVER_STEPS: Final[dict[str, Callable[[Drivers, Step], Awaitable[Outcome]]]] = {
    "kblock": kblock,
    "kfree": kfree,
    "netrx": netrx,
}
