"""An open file: where a program is in it, and what it reads ahead.

Linux: struct file (include/linux/fs.h), 6.1.
Units: bytes.
"""

import attrs

from kernelsim.fs.inode import Inode
from kernelsim.mm.file.readahead import FileRa


@attrs.define(eq=False)
class OpenFile:
    """An open file.

    Attributes:
        inode: The file.
        ra: Its readahead state.
        pos: Where the next read begins.
        wb_err: Errors of writing back it has heard of, see fs/errseq.py.
        is_random: FMODE_RANDOM: no readahead, by POSIX_FADV_RANDOM.
        can_read: It was opened for reading (FMODE_READ).
        can_write: It was opened for writing (FMODE_WRITE).
    """

    inode: Inode
    ra: FileRa = attrs.field(factory=FileRa)
    pos: int = 0
    wb_err: int = 0
    is_random: bool = False
    can_read: bool = True
    can_write: bool = True
