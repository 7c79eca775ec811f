"""What a node does with pages that nobody uses any more: they leave their lists.

Linux: mm/swap.c:release_pages, 6.1.
Interface: `NodeRelease`, part of a node's actor, whose `receive` is the handler of its message.
Units: pages, ns.
"""

from functools import partial
from typing import Any, Protocol

from kernelsim.actors.messages.node import ReleasePages
from kernelsim.actors.parts.memory import Memory
from kernelsim.actors.parts.shared_server import Holds, NodeLock, Room
from kernelsim.mm.burst.release import release_run
from kernelsim.sim.channel import Channel
from kernelsim.sim.reply import Reply
from kernelsim.sim.wait import Waiter


class Lists(Protocol):
    """The actor of a node, as far as its lists go."""

    lru_lock: NodeLock
    mailbox: Channel[tuple[Any, Waiter | None]]

    def way_back(self) -> Reply | None:
        """Put the answer off."""
        ...


class NodeRelease:
    """The side of one node that takes pages off its lists.

    Args:
        owner: The node's actor.
        memory: What it works with.
        page_ns: Mean time of a page under lru_lock.
    """

    def __init__(self, owner: Lists, memory: Memory, page_ns: int) -> None:
        self._owner = owner
        self._memory = memory
        self._page_ns = page_ns

    def receive(self, message: ReleasePages) -> Any:  # noqa: ANN401 - the answer, maybe later
        """Take some of the pages off their lists, at least SWAP_CLUSTER_MAX."""
        owner, user = self._owner, message.user
        if owner.mailbox.receivers:  # this is served in line: else others may have to come first
            answer = owner.lru_lock.serve_alone(partial(self._release, message), user)
            if answer is not None:
                return answer
        return owner.lru_lock.serve(partial(self._release_few, message), user, owner.way_back)

    def _release_few(self, message: ReleasePages) -> tuple[tuple[int, int], int]:
        answer, holds = self._release(message, Room(0, 0, 1))
        return answer, holds.hold_ns

    def _release(self, message: ReleasePages, room: Room) -> tuple[tuple[int, int], Holds]:
        memory = self._memory
        nr, nr_free, *holds = release_run(
            memory.mem, memory.burst, memory.cpu_numbers[message.user], message.pfns, *room,
            self._page_ns, message.out,
        )  # fmt: skip
        memory.taken(nr_free)
        self._owner.mailbox.nr_sent += holds[0] - 1  # as if each hold had been asked for
        self._owner.mailbox.nr_received += holds[0] - 1
        return (nr, nr_free), Holds(*holds)
