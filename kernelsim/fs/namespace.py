"""All files of a machine, by path, and the file systems they lie in.

Linux: fs/namei.c, without directories, 6.1.
Differs: There are no directories and no mounts but for /dev/shm: a path is one name. A new file
lies on the device of a file whose path differs in the last part only, else on the first device.
What is below /dev/shm is a tmpfs and lies in memory.

Interface: a `Namespace` a machine; errors are negative errnos.
Units: bytes.
"""

import errno
from typing import Final

import attrs

from kernelsim.fs.filesystem import Filesystem
from kernelsim.fs.inode import Inode, first_tokens

TMPFS: Final = "/dev/shm/"  # noqa: S108 - no file of the machine that runs this


@attrs.define
class Namespace:
    """The files of a machine.

    Attributes:
        filesystems: By device.
        inodes: Files by number, unlinked ones that are still in use too.
        by_path: Files by path.
        next_number: Of the next file.
    """

    filesystems: dict[str, Filesystem] = attrs.field(factory=dict)
    inodes: dict[int, Inode] = attrs.field(factory=dict)
    by_path: dict[str, Inode] = attrs.field(factory=dict)
    next_number: int = 1

    def create(self, path: str, device: str | None = None) -> Inode | int:
        """Make an empty file; return it, or -EEXIST, or -ENOSPC where there is no file system."""
        if path in self.by_path:
            return -errno.EEXIST
        if path.startswith(TMPFS):
            inode = self.create_shmem(path, 0, is_charged=False)
            self.by_path[path] = inode
            return inode
        where = device if device is not None else self._device_for(path)
        if where not in self.filesystems:
            return -errno.ENOSPC
        inode = Inode(self.next_number, path, where)
        self.next_number += 1
        self.inodes[inode.number] = self.by_path[path] = inode
        return inode

    def create_full(self, path: str, size: int, device: str) -> Inode | int:
        """Make a file that has all its pages on the device; return it, or a negative errno."""
        made = self.create(path, device)
        if isinstance(made, int):
            return made
        made.size = size
        error = self.filesystems[device].allocate(made, 0, made.nr_pages)
        if error:
            self.unlink(path)
            self.forget(made)
            return error
        made.disk = first_tokens(made.number, made.nr_pages)
        return made

    def create_nameless(self) -> Inode:
        """Make an empty file without a name, which is on no device and stays."""
        inode = Inode(self.next_number, "", "", nr_open=1)
        self.next_number += 1
        self.inodes[inode.number] = inode
        return inode

    def create_shmem(self, path: str, size: int, *, is_charged: bool) -> Inode:
        """Make a file that lies in memory; the path is only shown, nobody can open it."""
        inode = Inode(self.next_number, path, "", size=size, is_shmem=True, is_charged=is_charged)
        self.next_number += 1
        self.inodes[inode.number] = inode
        return inode

    def unlink(self, path: str) -> int:
        """Take a file's name; return 0 or -ENOENT. Its pages go when nobody uses it (`forget`)."""
        inode = self.by_path.pop(path, None)
        if inode is None:
            return -errno.ENOENT
        inode.path = ""
        return 0

    def forget(self, inode: Inode) -> None:
        """Give back what an unlinked file has on its device; nothing of it may be cached."""
        assert not inode.path, "a file with a name stays"
        assert not inode.nr_open, "a file with a user stays"
        self.filesystems[inode.device].release(inode, 0)
        del self.inodes[inode.number]

    def _device_for(self, path: str) -> str | None:
        folder = path.rpartition("/")[0]
        for known, inode in self.by_path.items():
            if known.rpartition("/")[0] == folder:
                return inode.device
        return next(iter(self.filesystems), None)
