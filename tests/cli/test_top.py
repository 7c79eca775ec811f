"""Tests of `kernelsim top`: a real terminal on one side, a person who reads it on the other."""

import fcntl
import os
import pty
import re
import select
import struct
import termios
import threading
import time

import pytest

from kernelsim.cli import main as cli
from kernelsim.live.door import Lines, Message, opened

pytestmark = [pytest.mark.mission("B6")]

HOG = """
from kernelsim.workload import workload

@workload(machine="tiny-64m")
async def main(machine):
    print("begun")
    hog = await machine.spawn("hog")
    area = await hog.mmap("4M")
    await hog.touch(area, write=True)
    machine.note("touched all")
"""
SECONDS = 30
SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Person(threading.Thread):
    """Reads a terminal, and presses a key when a text has appeared.

    Args:
        presses: Pairs of text and key.
    """

    def __init__(self, presses):
        super().__init__(daemon=True)
        self.presses = list(presses)
        self.side, self.terminal = pty.openpty()
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.seen = ""
        self.is_over = False

    def run(self):
        """Read until the test is over and all is read; give up when it takes too long."""
        unread, deadline = "", time.monotonic() + SECONDS
        while True:
            ready, _, _ = select.select([self.side], [], [], 0.05)
            if not ready and self.is_over:
                return
            text = os.read(self.side, 1 << 16).decode(errors="replace") if ready else ""
            self.seen += text
            unread = SEQUENCE.sub("", unread + text)
            if self.presses and self.presses[0][0] in unread:
                unread = ""
                os.write(self.side, self.presses.pop(0)[1].encode())
            elif time.monotonic() > deadline:
                os.write(self.side, b"q")
                deadline += 1


@pytest.fixture
def at_terminal(tmp_path, monkeypatch):
    """Run `kernelsim top` of a small workload at a terminal; give status and what was seen."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hog.py").write_text(HOG)
    monkeypatch.setenv("TERM", "xterm-256color")

    def run(*words, presses):
        person = Person(presses)
        with (
            os.fdopen(os.dup(person.terminal), "r") as stdin,
            os.fdopen(os.dup(person.terminal), "w") as stdout,
        ):
            monkeypatch.setattr("sys.stdin", stdin)
            monkeypatch.setattr("sys.stdout", stdout)
            person.start()
            place = () if "out" in words[:1] else ("hog.py",)
            status = cli.exit_status(["top", *place, *words])
        person.is_over = True
        person.join()
        monkeypatch.undo()
        return status, person

    return run


def test_top_shows_a_run_to_its_end(at_terminal):
    """It begins paused, goes on when told, stays at the end; then the summary, as of `run`.

    What the workload prints does not spoil the screen: it comes before the summary.
    """
    presses = [("paused", "s"), ("paused, step 100 us; + is since 100 us", "c"), ("is over", "q")]
    status, person = at_terminal("--paused", "--step", "0.1ms", presses=presses)

    assert (cli.EXIT_DONE, []) == (status, person.presses)
    screen, _, after = person.seen.rpartition("\x1b[?1049l")  # back from the other screen
    assert "\x1b[?1049h" in screen
    assert "hog.py on tiny-64m, seed 1" in SEQUENCE.sub("", screen)
    assert "begun" not in screen
    assert after.index("begun") < after.index("touched all")
    assert "wall time" in after


def test_q_interrupts(at_terminal, tmp_path, capsys):
    """Status and message are those of Ctrl-C, and what there is of the run is whole."""
    status, _ = at_terminal("--paused", "--out", "out", presses=[("paused", "q")])

    assert cli.EXIT_INTERRUPTED == status
    assert "kernelsim: interrupted\n" == capsys.readouterr().err
    assert {"events.jsonl", "run.json", "proc"} <= {p.name for p in (tmp_path / "out").iterdir()}


def test_top_of_a_directory_watches_a_run_elsewhere(at_terminal, tmp_path):
    """It shows the run's screens, sends it the keys and the size; q only leaves."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out/events.jsonl").write_text("")
    listener = opened(tmp_path / "out")
    said = []

    def behind():
        listener.setblocking(True)
        lines = Lines(listener.accept()[0])
        lines.send(Message(screen="[bold]machine[/bold] runs"))
        while not lines.is_over:
            got = lines.receive(1.0)
            said.extend(got)
            if any(each.keys for each in got):
                lines.send(Message(screen="it pauses"))
        lines.close()

    run = threading.Thread(target=behind, daemon=True)
    run.start()
    status, person = at_terminal("out", presses=[("machine runs", "p"), ("it pauses", "q")])
    run.join(SECONDS)
    listener.close()

    assert (cli.EXIT_DONE, []) == (status, person.presses)
    assert said[0].size
    assert [Message(keys=["p"])] == said[1:]


def test_a_run_with_out_has_a_door(tmp_path, monkeypatch, capsys):
    """It is there while the run goes on, and gone afterwards."""
    monkeypatch.chdir(tmp_path)
    look = "print(*[p.is_socket() for p in __import__('pathlib').Path('o').iterdir()])"
    (tmp_path / "hog.py").write_text(HOG.replace('print("begun")', look))
    assert cli.EXIT_DONE == cli.exit_status(["run", "hog.py", "--out", "o"])
    assert "True" in capsys.readouterr().out
    assert not any(path.is_socket() for path in (tmp_path / "o").iterdir())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["."], "must hold a run; there is no events.jsonl"),
        (["ended"], "must be of a run that goes on: it is over"),
        (["ended", "--paused"], "--paused = True: options are for a run that top starts"),
        (["ended", "--seed", "2"], "ended': options are for a run that top starts"),
        (["hog.py"], "top needs a terminal"),
        (["hog.py", "--speed", "0s"], "--speed = '0s': must be more than 0"),
        (["hog.py", "--step", "soon"], "--step = 'soon'"),
        (["alone.py"], "alone.py: is a simulation without a machine"),
    ],
)
def test_wrong_use_is_one_line(capsys, tmp_path, monkeypatch, words, told):
    """Without a terminal, with no speed, or without a machine there is nothing to watch."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hog.py").write_text(HOG)
    (tmp_path / "ended").mkdir()
    (tmp_path / "ended/events.jsonl").write_text("")
    (tmp_path / "ended/run.json").write_text("{}")
    (tmp_path / "alone.py").write_text(
        "from kernelsim.workload import simulation\n"
        "@simulation\nasync def main(engine):\n    pass\n"
    )
    assert cli.EXIT_WRONG_USE == cli.exit_status(["top", *words])
    said = capsys.readouterr()
    assert "" == said.out
    assert told in said.err
    assert 1 == said.err.count("\n")
