"""Peers on a bare heap of coroutines: what Python allows at most, with nothing to rely on.

No cancellation, no names, no reports, no limits: the price of those is the difference to ours.
"""

from collections import deque
from collections.abc import Coroutine, Generator
from heapq import heappop, heappush
from types import coroutine
from typing import Any

from tools.bench.peers import SLEEP

Task = Coroutine[Any, Any, None]


class Loop:
    """A heap of coroutines to resume."""

    def __init__(self) -> None:
        self.now = 0
        self.number = 0
        self.heap: list[tuple[int, int, Task, Any]] = []
        self.current: Task

    def resume_at(self, at: int, task: Task, value: object = None) -> None:
        """Resume a coroutine at a time with a value."""
        self.number += 1
        heappush(self.heap, (at, self.number, task, value))

    def run(self) -> None:
        """Run until nothing is left to resume."""
        while self.heap:
            self.now, _, task, value = heappop(self.heap)
            self.current = task
            try:
                task.send(value)
            except StopIteration:
                continue

    async def sleep(self, time: int) -> None:
        """Let time pass."""
        self.resume_at(self.now + time, self.current)
        await park()


@coroutine
def park() -> Generator[None, Any, Any]:
    """Give up control until resumed."""
    return (yield)


class Queue:
    """A queue between coroutines."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.values: deque[Any] = deque()
        self.getters: deque[Task] = deque()

    def put(self, value: object) -> None:
        """Give a value to the first who waits, or keep it."""
        if self.getters:
            self.loop.resume_at(self.loop.now, self.getters.popleft(), value)
        else:
            self.values.append(value)

    async def get(self) -> Any:  # noqa: ANN401 - whatever was put
        """Take a value, waiting for it."""
        if self.values:
            return self.values.popleft()
        self.getters.append(self.loop.current)
        return await park()


def sleeps(nr_operations: int, nr_tasks: int) -> None:
    """Let coroutines sleep."""
    loop = Loop()

    async def sleeper(time: int) -> None:
        for _ in range(nr_operations // nr_tasks):
            await loop.sleep(time)

    for number in range(nr_tasks):
        loop.resume_at(0, sleeper(SLEEP + number))
    loop.run()
    assert loop.now == (SLEEP + nr_tasks - 1) * (nr_operations // nr_tasks)


def asks(nr_operations: int) -> None:
    """Let a coroutine put requests into a queue and get answers from another."""
    loop = Loop()
    requests, answers = Queue(loop), Queue(loop)
    got = []

    async def server() -> None:
        while (message := await requests.get()) is not None:
            answers.put(message + 1)

    async def asker() -> None:
        for number in range(nr_operations):
            requests.put(number)
            got.append(await answers.get())
        requests.put(None)

    loop.resume_at(0, server())
    loop.resume_at(0, asker())
    loop.run()
    assert len(got) == nr_operations
    assert got[-1] == nr_operations


def many(nr_tasks: int) -> None:
    """Start servers, ask each once, stop them all."""
    loop = Loop()
    answers = Queue(loop)
    inboxes = [Queue(loop) for _ in range(nr_tasks)]
    got = []

    async def server(inbox: Queue) -> None:
        while (message := await inbox.get()) is not None:
            answers.put(message + 1)

    async def main() -> None:
        for number, inbox in enumerate(inboxes):
            inbox.put(number)
            got.append(await answers.get())
        for inbox in inboxes:
            inbox.put(None)

    for inbox in inboxes:
        loop.resume_at(0, server(inbox))
    loop.resume_at(0, main())
    loop.run()
    assert sum(got) == sum(range(1, nr_tasks + 1))
