"""Fixtures of the engine's tests: an actor made of a function, a sink, a run."""

import pytest

from kernelsim.sim.actor import Actor
from kernelsim.sim.engine import Engine


class Doing(Actor):
    """Runs an async function of itself."""

    def __init__(self, name, body):
        super().__init__(name)
        self.body = body

    async def run(self):
        """Run the function."""
        await self.body(self)


class ListSink:
    """Keeps events in a list; counts flushes."""

    def __init__(self):
        self.events = []
        self.nr_flushes = 0

    def wants(self, actor, event):
        """Keep all."""
        return True

    def emit(self, t_ns, actor, event, fields):
        """Keep one."""
        self.events.append((t_ns, actor, event, fields))

    def flush(self):
        """Count."""
        self.nr_flushes += 1

    def times(self, event):
        """Return (time, actor) of the events of a name."""
        return [(t_ns, actor) for t_ns, actor, name, _ in self.events if name == event]


@pytest.fixture
def sink():
    """A sink to give to an engine and to look into."""
    return ListSink()


@pytest.fixture
def doing():
    """Make an actor of a name and an async function of it."""
    return Doing


@pytest.fixture(params=[True, False], ids=["inline", "switching"])
def run(request, sink):
    """Run an async main on a new engine, in line and not; the engine is `run.engine`."""

    def run_main(main, **options):
        run_main.engine = Engine(**{"sink": sink, "inline": request.param, **options})
        return run_main.engine.run(main)

    return run_main
