"""Draw the life of one page fault, as it happened: who asked whom for what, and when.

    python -m tools.draw_fault             # prints the picture
    python -m tools.draw_fault README.md   # puts it in place of the one that is there

A small machine with swap is run, every message is noted, and the first fault of its process that
waits for the disk is drawn: one line a message, time running down. The README shows the picture; a
test compares it.
Units: ns of virtual time.
"""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import attrs

from kernelsim.config.machine_file import machine_from_toml
from kernelsim.machine import Machine
from kernelsim.sim.actor import ActorRef
from kernelsim.workload import MachineHandle

MACHINE: Final[dict[str, object]] = {
    "name": "one fault",
    "arch": "x86_64",
    "node": [{"cpus": "0", "memory": "16M"}],
    "device": [{"name": "vda"}],
    "swap": [{"size": "32M", "device": "vda"}],
    "sysctl": {"kernel.randomize_va_space": 0},  # at the edge of a readahead window: one page
}
COLUMNS: Final = ("process", "fault handler", "cpu0", "node0", "vda")
COLUMN: Final = 17  # characters
TIME: Final = 9
OLD: Final = re.compile(r"^```\n +µs[^`]+```\n", re.MULTILINE)  # a picture in a text


@attrs.define
class Message:
    """A message, when it was sent and when it was answered; a tell is never answered."""

    sent_ns: int
    sender: str
    receiver: str
    name: str
    answered_ns: int | None = None


@contextmanager
def noted(messages: list[Message]) -> Iterator[None]:
    """Note every message between actors inside the block."""
    ask, tell = ActorRef.ask, ActorRef.tell

    def note(ref: ActorRef, message: object) -> Message:
        clock = ref._clock  # noqa: SLF001 - there is no other way to listen to all
        kept = Message(clock.now_ns, clock.running.name, ref.name, type(message).__name__)
        messages.append(kept)
        return kept

    async def noting_ask(ref: ActorRef, message: object, **how: bool) -> Any:  # noqa: ANN401 - any answer
        kept = note(ref, message)
        answer = await ask(ref, message, **how)
        kept.answered_ns = ref._clock.now_ns  # noqa: SLF001 - as above
        return answer

    def noting_tell(ref: ActorRef, message: object) -> None:
        note(ref, message)
        tell(ref, message)

    with patch.object(ActorRef, "ask", noting_ask), patch.object(ActorRef, "tell", noting_tell):
        yield


def major_fault() -> list[Message]:
    """Run the machine; return the messages of the first fault that waited for the disk."""
    messages: list[Message] = []

    async def main(machine: MachineHandle) -> None:
        process = await machine.spawn("p")
        region = await process.mmap("20M")
        await process.touch(region, write=True)
        await machine.sleep("1s")
        # this fault gives back the slabs that writing to swap has emptied
        await process.touch(region, offset="4M", length="4K")
        await machine.sleep("1s")
        del messages[:]
        await process.touch(region, length="4K")

    with noted(messages):  # each step is a message when bursts have one page
        MachineHandle(Machine(machine_from_toml(MACHINE), burst_pages=1)).run(main)
    fault = next(each for each in messages if each.name == "PageFault")
    end_ns = fault.answered_ns
    assert end_ns is not None, "the fault was not answered"
    part = [each for each in messages[messages.index(fault) :] if each.sent_ns <= end_ns]
    return [*part, Message(end_ns, fault.receiver, fault.sender, "FaultResult")]


def column_of(name: str) -> int | None:
    """Return the column of an actor; None for one that is not drawn.

    What the engine calls at a set time is the disk, which is done with a request.
    """
    if name.startswith("fault-"):
        return COLUMNS.index("fault handler")
    name = {"p-100": "process", "engine": "vda"}.get(name, name)
    return COLUMNS.index(name) if name in COLUMNS else None


def picture(messages: list[Message]) -> str:
    """Return the picture, one line a message."""
    began_ns = messages[0].sent_ns
    centers = [TIME + COLUMN * i + COLUMN // 2 for i in range(len(COLUMNS))]
    width = TIME + COLUMN * len(COLUMNS)
    head = list(" " * width)
    for center, name in zip(centers, COLUMNS, strict=True):
        head[center - len(name) // 2 : center - len(name) // 2 + len(name)] = name
    head[:TIME] = f"{'µs':>{TIME - 2}}  "
    lines = ["".join(head) + "answered after µs"]
    for message in messages:
        ends = column_of(message.sender), column_of(message.receiver)
        if ends[0] is None or ends[1] is None:
            continue
        line = list(" " * width)
        for center in centers:
            line[center] = "|"
        line[:TIME] = f"{(message.sent_ns - began_ns) / 1000:{TIME - 2}.2f}  "
        left, right = sorted((centers[ends[0]], centers[ends[1]]))
        line[left + 1 : right] = message.name.center(right - left - 1, "-")
        line[right - 1 if ends[0] < ends[1] else left + 1] = ">" if ends[0] < ends[1] else "<"
        text = "".join(line)
        if message.answered_ns is not None and message.answered_ns > message.sent_ns:
            text += f"{(message.answered_ns - message.sent_ns) / 1000:.2f}"
        lines.append(text.rstrip())
    return "\n".join(lines) + "\n"


def draw() -> str:
    """Run the machine and return the picture."""
    return picture(major_fault())


def main(words: list[str]) -> None:
    """Print the picture, or put it into the files named."""
    drawn = draw()
    if not words:
        print(drawn, end="")
    for name in words:
        path = Path(name)
        text = path.read_text(encoding="utf-8")
        path.write_text(OLD.sub(lambda _: f"```\n{drawn}```\n", text), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
