"""Five philosophers, five forks, one cook: locks, a device that serves in turn, and no machine.

The worked example of the engine. A philosopher thinks, takes the two forks beside the plate, asks
the cook for a course, eats it and puts the forks down. A fork is a spinlock, the stove a first
come, first served server; nobody computes how long anybody waits, that follows from who meets whom
at which virtual time. All take their forks in the order of the forks' numbers, so there is no
circle of waiting; `greedy` philosophers, who take the left one first, end in a deadlock report.
"""

import attrs

from kernelsim.sim.actor import Actor, ActorRef, At
from kernelsim.sim.engine import Engine
from kernelsim.sim.locks import FifoServer, SpinLock
from kernelsim.units import NS_PER_US
from kernelsim.workload import simulation

NAMES = ("Socrates", "Plato", "Aristotle", "Hypatia", "Diotima")
COURSES = 3
COOKING_NS = 12 * NS_PER_US
REACHING_NS = 8 * NS_PER_US  # from the first fork to the second
EATING_NS = 30 * NS_PER_US
THINKING_NS = (5 * NS_PER_US, 60 * NS_PER_US)


@attrs.frozen
class Order:
    """Ask for a course; the answer comes when it is cooked."""

    guest: str


class Cook(Actor):
    """Serves orders one after another on one stove."""

    stove: FifoServer

    async def on_start(self) -> None:
        """Heat the stove."""
        self.stove = self.engine.server("stove")

    def receive(self, message: Order) -> At:
        """Put the order in the queue and answer when it is done."""
        begin_ns, end_ns = self.stove.reserve(COOKING_NS, message.guest)
        return At(end_ns, begin_ns - self.engine.now_ns)


class Philosopher(Actor):
    """Thinks and eats.

    Args:
        name: Also the name of its stream of random numbers.
        forks: In the order in which to take them.
        cook: Whom to ask for food.
    """

    def __init__(self, name: str, forks: tuple[SpinLock, SpinLock], cook: ActorRef) -> None:
        super().__init__(name)
        self.forks = forks
        self.cook = cook

    async def run(self) -> None:
        """Dine."""
        rng = self.engine.rng(self.name)
        first, second = self.forks
        for course in range(1, COURSES + 1):
            await self.engine.sleep(rng.between(*THINKING_NS))
            async with first.held() as first_ns:
                await self.engine.sleep(REACHING_NS)
                async with second.held() as second_ns:
                    queued_ns = await self.cook.ask(Order(self.name))
                    await self.engine.sleep(EATING_NS)
            spun_ns = first_ns + second_ns
            self.log("ate", course=course, spun_ns=spun_ns, queued_ns=queued_ns)
            self.progress()


async def dine(engine: Engine, *, greedy: bool) -> None:
    """Seat everybody and wait until they have eaten."""
    cook = engine.spawn(Cook("cook"))
    forks = [engine.spinlock(f"fork{number}") for number in range(len(NAMES))]
    guests = []
    for number, name in enumerate(NAMES):
        left, right = number, (number + 1) % len(NAMES)
        first, second = (left, right) if greedy else sorted((left, right))
        guest = Philosopher(name, (forks[first], forks[second]), cook)
        guests.append(engine.spawn(guest))
    for ref in guests:
        await ref.join()


@simulation
async def main(engine: Engine) -> None:
    """Let them dine politely."""
    await dine(engine, greedy=False)
