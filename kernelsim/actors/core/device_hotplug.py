"""The lock that devices come and go under: one task at a time plugs memory, or switches it.

Linux: drivers/base/core.c: lock_device_hotplug, lock_device_hotplug_sysfs, 6.1.
Who waits for it is off its CPU, so that the holder may have that.
Interface: `DeviceHotplugLock`, one a machine.
Units: ns.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from kernelsim.actors.core.task import Task
from kernelsim.sim.engine import Engine
from kernelsim.units import NS_PER_MS

SYSFS_SLEEP_NS: Final = 5 * NS_PER_MS


class DeviceHotplugLock:
    """The lock, a mutex.

    Args:
        engine: Of the run.

    Attributes:
        is_held: Whether somebody has it.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._queue = engine.wait_queue("device_hotplug_lock", is_for_work=True)
        self.is_held = False

    @asynccontextmanager
    async def held(self, task: Task) -> AsyncIterator[None]:
        """Hold it inside the block; who must wait sleeps until it is let go.

        Source: Linux 6.1 drivers/base/core.c:lock_device_hotplug
        """
        if not self._trylock():
            async with task.off_cpu():
                while not self._trylock():
                    await self._queue.wait()
        try:
            yield
        finally:
            self.release()

    async def acquire_in_sysfs(self, task: Task) -> bool:
        """Take it, or sleep a while: then the call is to begin afresh. Return whether it is taken.

        Source: Linux 6.1 drivers/base/core.c:lock_device_hotplug_sysfs
        """
        if self._trylock():
            return True
        async with task.off_cpu():
            await self._engine.sleep(SYSFS_SLEEP_NS)
        return False

    def _trylock(self) -> bool:
        was_free, self.is_held = not self.is_held, True
        return was_free

    def release(self) -> None:
        """Let it go, by who holds it."""
        self.is_held = False
        self._queue.wake()
