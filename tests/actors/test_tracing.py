"""Who logs, and whether anybody listens."""

import attrs

from kernelsim.actors.tracing import Listened, Speaker
from kernelsim.sim.engine import Engine
from kernelsim.trace.kmem import mm_page_alloc


@attrs.define
class Choosy:
    """A sink that keeps what one speaker says, and counts the questions."""

    name: str
    asked: list[str] = attrs.field(factory=list)

    def wants(self, actor, event):
        """Tell whether it keeps that."""
        self.asked.append(f"{actor} {event}")
        return actor == self.name

    def emit(self, t_ns, actor, event, fields):
        """Keep nothing."""

    def flush(self):
        """Do nothing."""


def test_each_speaker_is_asked_for_once():
    """The answer is kept until there are more speakers; without a sink it is no."""
    sink = Choosy("node1")
    engine = Engine(sink=sink)
    speakers = [Speaker(engine, "node0")]
    listened = Listened(speakers, mm_page_alloc)
    assert [listened(), listened()] == [False, False]
    assert sink.asked == ["node0 mm_page_alloc"]
    speakers.append(Speaker(engine, "node1"))
    assert [listened(), listened()] == [True, True]
    assert len(sink.asked) == 3
    assert not Listened([Speaker(Engine(), "node1")], mm_page_alloc)()
