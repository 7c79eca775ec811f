"""First touch in SimPy, a message a page: a process asks, a node grants under a lock, both in time.

What such a model has to do at least: the process computes the fault's entry, asks the node, the
node takes the lock, holds it, takes a frame and answers, the process computes the rest. The frame
number goes into a table, the free count into another.
"""

from collections.abc import Generator
from typing import Any

import simpy

Process = Generator[Any, Any, None]

ENTRY_NS, HOLD_NS, REST_NS = 250, 40, 410


def first_touch(nr_pages: int) -> None:
    """Let one process fault so many pages, one after the other."""
    env = simpy.Environment()
    requests = simpy.Store(env)
    lock = simpy.Resource(env, capacity=1)
    free = list(range(nr_pages))
    table: dict[int, int] = {}

    def node() -> Process:
        while True:
            answer = yield requests.get()
            with lock.request() as turn:
                yield turn
                yield env.timeout(HOLD_NS)
                answer.succeed(free.pop())

    def process() -> Process:
        for page in range(nr_pages):
            yield env.timeout(ENTRY_NS)
            answer = env.event()
            requests.put(answer)
            table[page] = yield answer
            yield env.timeout(REST_NS)

    env.process(node())
    env.run(env.process(process()))
    assert len(table) == nr_pages
    assert env.now == nr_pages * (ENTRY_NS + HOLD_NS + REST_NS)
