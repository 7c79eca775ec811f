"""Peers in trio alone: sleeps on its MockClock that jumps, memory channels, a Lock."""

import math

import trio
from trio.testing import MockClock

from tools.bench.peers import SLEEP


def sleeps(nr_operations: int, nr_tasks: int) -> None:
    """Let tasks sleep on a clock that jumps to the next deadline as soon as all sleep."""

    async def sleeper(seconds: int) -> None:
        for _ in range(nr_operations // nr_tasks):
            await trio.sleep(seconds)

    async def main() -> float:
        async with trio.open_nursery() as nursery:
            for number in range(nr_tasks):
                nursery.start_soon(sleeper, SLEEP + number)
        return trio.current_time()

    passed = trio.run(main, clock=MockClock(autojump_threshold=0))
    assert round(passed) == (SLEEP + nr_tasks - 1) * (nr_operations // nr_tasks)


def asks(nr_operations: int) -> None:
    """Let a task send requests through a memory channel and receive answers from another."""
    got = []

    async def main() -> None:
        to_server, requests = trio.open_memory_channel[int](math.inf)
        to_asker, answers = trio.open_memory_channel[int](math.inf)

        async def server() -> None:
            async for message in requests:
                await to_asker.send(message + 1)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(server)
            for number in range(nr_operations):
                await to_server.send(number)
                got.append(await answers.receive())
            to_server.close()

    trio.run(main)
    assert len(got) == nr_operations
    assert got[-1] == nr_operations


def hand_overs(nr_operations: int, nr_tasks: int) -> None:
    """Let tasks hold one Lock in turn on a clock that jumps."""
    holds = []

    async def main() -> None:
        lock = trio.Lock()

        async def taker() -> None:
            for _ in range(nr_operations // nr_tasks):
                async with lock:
                    await trio.sleep(3)
                    holds.append(trio.current_time())

        async with trio.open_nursery() as nursery:
            for _ in range(nr_tasks):
                nursery.start_soon(taker)

    trio.run(main, clock=MockClock(autojump_threshold=0))
    assert len(holds) == nr_operations // nr_tasks * nr_tasks


def many(nr_tasks: int) -> None:
    """Start servers, ask each once, stop them all."""
    got = []

    async def main() -> None:
        to_main, answers = trio.open_memory_channel[int](math.inf)

        async def server(inbox: trio.MemoryReceiveChannel[int]) -> None:
            async for message in inbox:
                await to_main.send(message + 1)

        async with trio.open_nursery() as nursery:
            senders = []
            for _ in range(nr_tasks):
                sender, inbox = trio.open_memory_channel[int](math.inf)
                senders.append(sender)
                nursery.start_soon(server, inbox)
            for number, sender in enumerate(senders):
                await sender.send(number)
                got.append(await answers.receive())
            for sender in senders:
                sender.close()

    trio.run(main)
    assert sum(got) == sum(range(1, nr_tasks + 1))
