"""Stores of bursts that run together are entered in the order that the pages show."""

from collections.abc import Callable
from typing import Any

import attrs
import numpy as np
import pytest

from kernelsim.check.page_cache import FileContents
from kernelsim.check.store_order import StoreOrder
from tests.small_machine import OpenMachine, run, small_machine

pytestmark = pytest.mark.mission("B3")

MINE, THEIRS = 11, 22


@attrs.define
class Neighbour:
    """A burst of another CPU, told when somebody asks what others have stored."""

    tell: Callable[[], None] = lambda: None

    def tell_stores(self) -> None:
        """Enter what it has stored, once."""
        tell, self.tell = self.tell, lambda: None
        tell()


@attrs.frozen
class Kernel:
    """A machine of which only the cache and the bursts matter; the rest is the real one's."""

    real: Any
    bursts: Neighbour

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


def entered(holds: list[int], theirs: list[int], *, in_file: str = "/f") -> tuple[list[int], Any]:
    """Store to pages 0–3 of /f, which then holds `holds`, beside a burst that stored to some.

    Returns:
        The pages stored to last, and what the file must hold afterwards.
    """

    async def main(machine: OpenMachine) -> Any:
        inodes = {each.path: each for each in machine.kernel.files.inodes.values()}
        inode, other = inodes["/f"], inodes[in_file]
        inode.disk[:] = holds
        files, neighbour = FileContents(), Neighbour()
        order = StoreOrder(Kernel(machine.kernel, neighbour), files)  # type: ignore[arg-type]
        stored = np.array(theirs, np.int64)
        neighbour.tell = lambda: (order.enter(other, stored, THEIRS), None)[1]
        last = order.enter(inode, np.arange(4), MINE)
        return last.tolist(), files.held(inode.number, np.arange(4)).tolist()

    spec = small_machine(files={"/f": "16K", "/g": "16K"})
    found: tuple[list[int], Any] = run(spec, main, sound=False).result
    return found


def test_the_page_says_which_of_two_stored_last():
    """Pages 1 and 2 are stored to by both: one holds the neighbour's store, the other ours."""
    last, held = entered([MINE, THEIRS, MINE, MINE], [1, 2])
    assert last == [0, 2, 3]
    assert held == [MINE, THEIRS, MINE, MINE]


def test_a_page_that_holds_neither_is_reported_later():
    """What is found there decides nothing: the store entered last is expected, and not found."""
    last, held = entered([MINE, 99, MINE, MINE], [1])
    assert last == [0, 1, 2, 3]
    assert held == [MINE] * 4


def test_stores_to_another_file_are_none_of_its_business():
    """The same page numbers of another file were stored to meanwhile."""
    last, held = entered([THEIRS] * 4, [0, 1, 2, 3], in_file="/g")
    assert last == [0, 1, 2, 3]
    assert held == [MINE] * 4
