"""The door of a run: who comes later sees it, holds it up, leaves, and changes nothing in it."""

import json
import socket
import threading
from functools import partial

import pytest

from kernelsim.live.door import NAME, Door, Guest, Lines, Message, knock, opened
from kernelsim.live.visit import watch_elsewhere
from kernelsim.report.machine_run import run_machine
from kernelsim.report.progress import Progress
from kernelsim.report.run_options import RunOptions
from kernelsim.workload.api import Workload
from tests.small_machine import small_machine

pytestmark = [pytest.mark.mission("B6")]

SECONDS = 20  # a test is given so long


class Visitor(threading.Thread):
    """Comes to a door, and presses a key when the screen has a text; what it saw stays in `seen`.

    Args:
        directory: Of the run.
        presses: Pairs of text and key.
    """

    size = (100, 20)

    def __init__(self, directory, presses):
        super().__init__(daemon=True)
        self.directory = directory
        self.presses = list(presses)
        self.seen = []
        self.has_come = threading.Event()

    def run(self):
        """Knock, and watch until the last key."""
        lines = knock(self.directory)
        self.has_come.set()
        watch_elsewhere(lines, self, self, SECONDS)
        lines.close()

    def read(self, _wait_s):
        """Press a key if its text is there."""
        if self.seen and self.presses and self.presses[0][0] in self.seen[-1]:
            return [self.presses.pop(0)[1]]
        return []

    def show(self, text):
        """Look at a screen."""
        self.seen.append(text.plain)


def door_of(directory, kernel):
    """Return the door of a run with nobody beside it."""
    return Door(kernel, directory, "some [b]title", Progress(kernel, enabled=False))


def run(out, visitor=None):
    """Run a workload that waits for its visitor; return its log."""

    async def main(machine):
        if visitor is not None:
            visitor.start()
            assert visitor.has_come.wait(SECONDS)
        process = await machine.spawn("hog")
        for _ in range(20):
            await process.touch(await process.mmap("1M"), write=True)
            for _ in range(30):
                await machine.sleep("1ms")

    workload = Workload(main, "machine", machine=small_machine(swap="32M"))
    options = RunOptions(out=out, progress=False)
    run_machine(workload, options, name="w.py", onlooker=partial(door_of, out))
    return (out / "events.jsonl").read_bytes()


def test_a_guest_pauses_steps_and_leaves(tmp_path):
    """It sees the machine in its size; the log is that of a run that nobody came to."""
    presses = [("hog", "p"), ("paused, step 1 ms; + is since", "s"), ("since 1 ms", "q")]
    visitor = Visitor(tmp_path / "seen", presses)
    log = run(tmp_path / "seen", visitor)
    visitor.join(SECONDS)

    assert not visitor.presses
    last = visitor.seen[-1].split("\n")
    assert last[0].startswith("some [b]title ")
    assert (max(map(len, last)), len(last)) == visitor.size
    assert "q leave" in last[-1]
    assert log == run(tmp_path / "unseen")
    assert NAME not in [path.name for path in (tmp_path / "seen").iterdir()]


def test_a_guest_sees_the_end(tmp_path):
    """The last screen says how the run ended and stays until the guest leaves."""
    visitor = Visitor(tmp_path / "seen", [("the run is over", "q")])
    run(tmp_path / "seen", visitor)
    visitor.join(SECONDS)

    assert not visitor.presses
    assert "ended (done)" in visitor.seen[-1]


def test_a_second_guest_waits_and_is_told(tmp_path):
    """While one watches nobody answers another."""
    listener = opened(tmp_path)
    assert listener is not None
    visitor, lines = Visitor(tmp_path, []), knock(tmp_path)
    assert not watch_elsewhere(lines, visitor, visitor, 0.1)
    lines.close()
    listener.close()
    with pytest.raises(OSError, match="refused"):
        knock(tmp_path)
    again = opened(tmp_path)  # what a killed run left is no hindrance
    assert again is not None
    again.close()


@pytest.mark.parametrize("said", [b"no message\n", b'{"size": "wide"}\n', b'{"keys": [1]}\n'])
def test_who_talks_nonsense_is_shown_out(said):
    """The run goes on as if it had left."""
    one, other = socket.socketpair()
    guest = Guest(Lines(one))
    other.sendall(said)
    assert guest.read(1.0) == ["c"]
    assert guest.lines.is_over
    one.close()
    other.close()


def test_a_guest_that_takes_nothing_holds_nothing_up():
    """Screens that it has no room for are left out; what comes after is whole again."""
    one, other = socket.socketpair()
    run_side, guest_side = Lines(one), Lines(other)
    for number in range(100):
        run_side.send(Message(screen=f"{number}:{'x' * 50_000}"))
    screens = []
    while got := guest_side.receive(0.05):
        screens += got
        run_side.receive(0.0)  # sends what is left
    assert 0 < len(screens) < 100
    assert [screen.screen[:2] for screen in screens[:2]] == ["0:", "1:"]
    assert {len(screen.screen.partition(":")[2]) for screen in screens} == {50_000}
    other.close()
    run_side.send(Message(screen="late"))
    run_side.send(Message(screen="later"))
    assert run_side.is_over
    one.close()


def test_a_door_that_cannot_be_made_is_none(tmp_path):
    """A run goes on where a file system has no sockets, or the name is taken."""
    (tmp_path / NAME).mkdir()
    assert opened(tmp_path) is None


def test_messages_leave_out_what_is_not_said():
    """A key is a short line."""
    one, other = socket.socketpair()
    Lines(one).send(Message(keys=["s"]))
    assert json.loads(other.recv(100)) == {"keys": ["s"]}
    one.close()
    other.close()
