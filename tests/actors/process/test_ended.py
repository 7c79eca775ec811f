"""Tests of what is left of a process that has ended."""

import gc

from kernelsim.actors.process.process import Process
from kernelsim.actors.space.fault_handler import FaultHandler
from tests.small_machine import run, small_machine


def test_the_actors_of_ended_processes_go():
    """Neither the engine nor the author's handles keep them, however many there were."""

    async def main(machine):
        handles = []
        for _ in range(50):
            handle = await machine.spawn("short")
            await handle.exit(3)
            handles.append((handle, await handle.wait()))
        await machine.sleep("1us")
        left = [name for name in machine.engine.actors if name.startswith(("short", "fault"))]
        gc.collect()
        # Not isinstance: it asks a proxy of a library's for what is gone.
        kept = [each for each in gc.get_objects() if type(each) in {Process, FaultHandler}]
        return left, len(kept), {status for _, status in handles}

    gc.collect()
    assert run(small_machine(), main).result == ([], 0, {3})
