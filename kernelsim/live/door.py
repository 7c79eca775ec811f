"""The door of a run that writes to a directory: who comes later may watch it and hold it up.

A run listens at a socket in its directory, looks there between two events, and lets one guest in
at a time. The guest has its screens drawn by the run itself, in the run's own thread, and sends its
keys: so a pause, a step, a speed are the same as at a terminal that started the run. When it leaves
the run goes on at full speed. Only who may write to the directory can come in.

Interface: `Door`, an `Onlooker`; `knock` for who comes; `Lines` and `Message`, what goes between
them.
Units: s of real time; columns and lines.
"""

import contextlib
import os
import select
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
from rich.text import Text

from kernelsim.actors.core.kernel import Kernel
from kernelsim.live.pace import Pace
from kernelsim.live.watch import Watch
from kernelsim.report.onlooker import LOOK_EVENTS, Onlooker

NAME: Final = "door"  # of the socket, in the run's directory
PIECE_BYTES: Final = 1 << 16
LAST_S: Final = 1.0  # a guest has so long to take the last screen
GOES_ON: Final = "c"  # the key that a guest who has left seems to have pressed


class Message(msgspec.Struct, omit_defaults=True):
    """What one side says to the other.

    Attributes:
        size: Of the guest's terminal, columns and lines, when it has changed.
        keys: What the guest has pressed.
        screen: What the run has drawn, as rich's markup.
    """

    size: tuple[int, int] | None = None
    keys: list[str] = []
    screen: str = ""


class Lines:
    """Messages, a line of JSON each, over a socket that never holds the program up.

    Args:
        end: The socket.

    Attributes:
        is_over: The other side has gone, or says what is no message.
    """

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self.is_over = False
        self._end = end
        self._read = self._unsent = b""

    def fileno(self) -> int:
        """Return the descriptor, for select."""
        return self._end.fileno()

    def close(self) -> None:
        """Hang up."""
        self.is_over = True
        self._end.close()

    def send(self, message: Message) -> None:
        """Send a message, or leave it out: while the other side has not taken the one before."""
        self._flush()
        if not self._unsent:
            self._unsent = msgspec.json.encode(message) + b"\n"
            self._flush()

    def send_last(self, message: Message) -> None:
        """Send a message that matters, waiting a little for the other side to take it."""
        with contextlib.suppress(OSError):
            self._end.settimeout(LAST_S)
            self._end.sendall(self._unsent + msgspec.json.encode(message) + b"\n")
        self._unsent = b""

    def receive(self, wait_s: float) -> list[Message]:
        """Return the messages that have come; wait a while if there are none."""
        self._flush()
        if self.is_over or not select.select([self._end], [], [], wait_s)[0]:
            return []
        try:
            data = self._end.recv(PIECE_BYTES)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        self.is_over = not data
        *lines, self._read = (self._read + data).split(b"\n")
        try:
            return [msgspec.json.decode(line, type=Message) for line in lines]
        except msgspec.DecodeError:
            self.is_over = True
            return []

    def _flush(self) -> None:
        try:
            while self._unsent and not self.is_over:
                self._unsent = self._unsent[self._end.send(self._unsent) :]
        except BlockingIOError:
            pass
        except OSError:
            self.is_over = True


class Guest:
    """Keys and screen of somebody who has come in."""

    def __init__(self, lines: Lines) -> None:
        self.lines = lines
        self.size = (80, 24)  # until it says its own
        self._is_last = False

    def read(self, wait_s: float) -> list[str]:
        """Return the keys pressed since the last call; wait a while if there are none."""
        keys: list[str] = []
        for message in self.lines.receive(wait_s):
            self.size = message.size or self.size
            keys += message.keys
        return [GOES_ON] if self.lines.is_over else keys

    def show(self, text: Text) -> None:
        """Show a whole screen."""
        send = self.lines.send_last if self._is_last else self.lines.send
        send(Message(screen=text.markup))

    def see_last(self) -> None:
        """Show what comes for certain: nothing will follow."""
        self._is_last = True


class Door:
    """Lets guests look at one run, beside somebody who looks anyway.

    Args:
        kernel: The machine.
        directory: The run's; it need not be there before the machine has booted.
        title: What runs where.
        beside: Looks, too.
    """

    def __init__(self, kernel: Kernel, directory: Path, title: str, beside: Onlooker) -> None:
        self._kernel = kernel
        self._directory = directory
        self._title = title
        self._beside = beside
        self._listener: socket.socket | None = None
        self._is_closed = False
        self._guest: Guest | None = None
        self._watch: Watch | None = None

    def due(self) -> tuple[int | None, int | None]:
        """Return when to look next: after some events, or when the one beside or a guest is to."""
        due_ns, _ = self._beside.due()
        guest_ns = self._watch.due()[0] if self._watch else None
        times = [each for each in (due_ns, guest_ns) if each is not None]
        return min(times, default=None), self._kernel.engine.clock.number + LOOK_EVENTS

    def look(self) -> None:
        """Let in who has come, and do what the guest wants."""
        self._beside.look()
        self._let_in()
        if self._watch is not None:
            self._watch.look()
            self._see_off()

    def see_end(self) -> None:
        """Show the guest the machine at its end."""
        self._beside.see_end()
        if self._watch is not None and self._guest is not None:
            self._guest.see_last()
            self._watch.see_end()

    def stop(self) -> None:
        """Shut the door for good."""
        self._beside.stop()
        self._is_closed = True
        if self._guest is not None:
            self._guest.lines.close()
        self._guest = self._watch = None
        if self._listener is not None:
            self._listener.close()
            self._listener = None
            with contextlib.suppress(OSError):
                (self._directory / NAME).unlink()

    def _let_in(self) -> None:
        if self._is_closed or self._guest is not None:
            return
        if self._listener is None:
            self._listener = opened(self._directory)
            self._is_closed = self._listener is None
            return
        try:
            end, _ = self._listener.accept()
        except OSError:
            return
        self._guest = Guest(Lines(end))
        self._watch = Watch(
            self._kernel,
            keys=self._guest, canvas=self._guest, pace=Pace(), title=self._title, is_guest=True,
        )  # fmt: skip

    def _see_off(self) -> None:
        if self._guest is not None and self._guest.lines.is_over:
            self._guest.lines.close()
            self._guest = self._watch = None


def opened(directory: Path) -> socket.socket | None:
    """Return a socket that listens in a directory; None where the system has none there."""
    with contextlib.suppress(OSError):
        (directory / NAME).unlink(missing_ok=True)  # of a run that was killed
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with short_path(directory) as path:
            listener.bind(path)
        listener.listen(1)
        listener.setblocking(False)
    except OSError:
        listener.close()
        return None
    return listener


def knock(directory: Path) -> Lines:
    """Come to the door of a run.

    Raises:
        OSError: There is none, or nobody behind it.
    """
    end = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with short_path(directory) as path:
            end.connect(path)
    except OSError:
        end.close()
        raise
    return Lines(end)


@contextlib.contextmanager
def short_path(directory: Path) -> Iterator[str]:
    """Give a path to the socket that is short enough for one, however deep the directory lies."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{fd}/{NAME}"
    finally:
        os.close(fd)
