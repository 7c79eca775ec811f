"""Small actors that the tests of actors share."""

from kernelsim.sim.actor import DEFERRED, Actor, At


class Adder(Actor):
    """Adds one; refuses text; tells when it starts and stops."""

    async def on_start(self):
        """Log it."""
        self.log("started")

    async def on_stop(self):
        """Log it."""
        self.log("stopped")

    def receive(self, message):
        """Add one."""
        self.log("served", message=message)
        return message + 1


class SlowAdder(Adder):
    """Takes its time."""

    async def receive(self, message):
        """Sleep, then add one."""
        await self.engine.sleep(10)
        return message + 1


class LateAdder(Adder):
    """Its answers arrive late."""

    def receive(self, message):
        """Add one and arrive 7 ns later."""
        return At(self.engine.now_ns + 7, message + 1)


class Keeper(Actor):
    """Puts all answers off until it is told to release them, last first."""

    def __init__(self, name):
        super().__init__(name)
        self.kept = []

    def receive(self, message):
        """Keep an ask; answer all on "release"."""
        if message != "release":
            self.kept.append((message, self.defer()))
            return DEFERRED
        for kept, reply in reversed(self.kept):
            reply.send(kept * 2)
        return None
