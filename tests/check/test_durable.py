"""What fsync has acknowledged is on the disk: the rule, and a kernel that breaks it."""

from typing import Any

import numpy as np
import pytest

from kernelsim.actors.file import write_inode
from kernelsim.check.durable import ANYTHING, Promises
from kernelsim.fs.inode import Inode
from tests.check.test_duties import findings, only
from tests.small_machine import PAGE, OpenMachine, small_machine

pytestmark = [pytest.mark.mission("B3"), pytest.mark.mission("R3")]
FIRST, SECOND = 0x100, 0x200


def held(token: int) -> Inode:
    """Return a file of one page that its disk has."""
    return Inode(1, "/f", "vda", size=PAGE, disk=np.array([token], np.uint64))


def test_only_what_was_acknowledged_must_be_there():
    """Before the call nothing; after it what the page held then, or got later."""
    promises, inode = Promises(), held(0)
    promises.wrote(inode, [0], FIRST)
    assert not list(promises.broken({1: inode}))
    promises.begins(7, 1)
    promises.wrote(inode, [0], SECOND)
    promises.acknowledged(7)
    assert not list(promises.broken({1: held(FIRST)}))
    assert not list(promises.broken({1: held(SECOND)}))
    [text] = promises.broken({1: inode})
    assert "page 0 of file 1: the disk holds 0x0, and 0x100 was acknowledged" in text


def test_what_was_cut_off_or_could_not_be_written_need_not_be_there():
    """Neither is promised any more."""
    promises, inode = Promises(), held(0)
    promises.wrote(inode, [0], FIRST)
    promises.begins(7, None)
    promises.acknowledged(7)
    assert list(promises.broken({1: inode}))
    promises.wrote(inode, [0], ANYTHING)
    assert not list(promises.broken({1: inode}))
    promises.truncated(inode, 0)
    assert not list(promises.broken({1: inode}))
    promises.wrote(inode, [0], FIRST)
    promises.begins(7, None)
    promises.truncated(inode, 0)  # while the call is under way
    promises.wrote(inode, [0], SECOND)
    promises.acknowledged(7)
    assert not list(promises.broken({1: inode}))


def test_an_fsync_that_does_not_wait_is_found(monkeypatch):
    """It returns while the disk still works, and a power cut would lose what it has promised."""

    async def no_wait(*_given: Any) -> None:
        """Be done at once."""

    async def main(machine: OpenMachine) -> None:
        process = await machine.spawn("log")
        fd = await process.open("/f", create=True)
        await process.write(fd, 20 * PAGE)
        await process.fsync(fd)
        await machine.sleep("100ms")

    monkeypatch.setattr(write_inode, "filemap_fdatawait_range", no_wait)
    spec = small_machine(files={}, memory="32M", disk={"bandwidth": "4M", "write_latency": "1ms"})
    assert only(findings(main, spec, every=1), "was acknowledged")
