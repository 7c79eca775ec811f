"""Peers in SimPy: timeouts, Stores, a Resource."""

from collections.abc import Generator
from typing import Any

import simpy

from tools.bench.peers import SLEEP

Process = Generator[Any, Any, None]


def sleeps(nr_operations: int, nr_tasks: int) -> None:
    """Let processes sleep, one timeout an operation."""
    env = simpy.Environment()

    def sleeper(delay: int) -> Process:
        for _ in range(nr_operations // nr_tasks):
            yield env.timeout(delay)

    for number in range(nr_tasks):
        env.process(sleeper(SLEEP + number))
    env.run()
    assert env.now == (SLEEP + nr_tasks - 1) * (nr_operations // nr_tasks)


def asks(nr_operations: int) -> None:
    """Let a process put requests into a Store and get answers out of another."""
    env = simpy.Environment()
    requests, answers = simpy.Store(env), simpy.Store(env)
    got = []

    def server() -> Process:
        while True:
            message = yield requests.get()
            yield answers.put(message + 1)

    def asker() -> Process:
        for number in range(nr_operations):
            yield requests.put(number)
            got.append((yield answers.get()))

    env.process(server())
    env.run(env.process(asker()))
    assert len(got) == nr_operations
    assert got[-1] == nr_operations


def hand_overs(nr_operations: int, nr_tasks: int) -> None:
    """Let processes hold one Resource in turn."""
    env = simpy.Environment()
    lock = simpy.Resource(env, capacity=1)
    holds = []

    def taker() -> Process:
        for _ in range(nr_operations // nr_tasks):
            with lock.request() as request:
                yield request
                yield env.timeout(3)
                holds.append(env.now)

    for _ in range(nr_tasks):
        env.process(taker())
    env.run()
    assert len(holds) == nr_operations // nr_tasks * nr_tasks


def many(nr_tasks: int) -> None:
    """Start servers, ask each once, stop them all."""
    env = simpy.Environment()
    inboxes = [simpy.Store(env) for _ in range(nr_tasks)]
    answers = simpy.Store(env)
    got = []

    def server(inbox: simpy.Store) -> Process:
        while (message := (yield inbox.get())) is not None:
            yield answers.put(message + 1)

    def main() -> Process:
        servers = [env.process(server(inbox)) for inbox in inboxes]
        for number, inbox in enumerate(inboxes):
            yield inbox.put(number)
            got.append((yield answers.get()))
        for inbox in inboxes:
            yield inbox.put(None)
        yield simpy.AllOf(env, servers)

    env.run(env.process(main()))
    assert sum(got) == sum(range(1, nr_tasks + 1))
