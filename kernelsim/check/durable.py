"""What a disk must hold: all that fsync, fdatasync or sync has acknowledged, whenever power fails.

A page may hold what it held when the call began, or anything that was written to it later.
Interface: `Promises` is told of writes and of the calls; `broken` compares with the disks.
Units: pages of files; tokens of what they hold.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from kernelsim.fs.inode import Inode

ANYTHING: Final = -1  # of a page that its device could not take

PageKey = tuple[int, int]  # number of the file, index


class Promises:
    """What the programs of a machine may rely on.

    A page's history begins with what it holds by the last promise and goes on with each write.
    """

    def __init__(self) -> None:
        self._history: dict[PageKey, list[int]] = {}
        self._nr_promised: dict[PageKey, int] = {}  # entries of its history that may be gone
        self._begun: dict[int, dict[PageKey, int]] = {}  # by pid, lengths at the begin of its call

    @property
    def nr_pages(self) -> int:
        """Pages that a disk must hold."""
        return len(self._nr_promised)

    def wrote(self, inode: Inode, pages: Iterable[int], token: int) -> None:
        """Enter what was written, or ANYTHING."""
        if inode.is_shmem:  # no disk is to hold it
            return
        for page in pages:
            self._history.setdefault((inode.number, page), []).append(token)

    def truncated(self, inode: Inode, index: int) -> None:
        """Forget pages behind the end of a file."""
        for key in [key for key in self._history if key[0] == inode.number and key[1] >= index]:
            del self._history[key]
            for known in (self._nr_promised, *self._begun.values()):
                known.pop(key, None)

    def begins(self, pid: int, number: int | None) -> None:
        """Note what a call that writes a file, or all of them, will promise."""
        self._begun[pid] = {
            key: len(tokens)
            for key, tokens in self._history.items()
            if number is None or key[0] == number
        }

    def acknowledged(self, pid: int) -> None:
        """Hold the kernel to it: the call of a process has succeeded."""
        for key, nr in self._begun.pop(pid, {}).items():
            self._nr_promised[key] = max(self._nr_promised.get(key, 0), nr)

    def broken(self, inodes: dict[int, Inode]) -> Iterator[str]:
        """Find pages whose disk has neither what was promised nor anything later."""
        for (number, index), nr in self._nr_promised.items():
            inode, tokens = inodes.get(number), self._history[number, index]
            allowed = tokens[nr - 1 :]
            if inode is None or ANYTHING in allowed:
                continue
            held = int(inode.disk[index]) if index < len(inode.disk) else 0
            if held not in allowed:
                yield (
                    f"page {index} of file {number}: the disk holds {held:#x}, and {allowed[0]:#x} "
                    "was acknowledged"
                )
