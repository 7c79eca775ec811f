"""Pages of a file on their way to the disk.

Linux: struct ext4_io_end (fs/ext4/ext4.h), 6.1.
Units: pages of the file.
"""

import attrs

from kernelsim.fs.inode import Inode
from kernelsim.mm.core.mem import I64, U64


@attrs.define(eq=False)
class PageWrite:
    """Pages of a file that follow each other, on their way to the device in one request or more.

    All of them end together, when the last request is done: the parts of a bio do, and pages that
    got their place on the device just now become part of the file then.

    Attributes:
        inode: The file.
        index: Its first page.
        pfns: The pages.
        tokens: What they held when the device was given them.
        nr_left: Pages whose requests are not done.
    """

    inode: Inode
    index: int
    pfns: I64
    tokens: U64
    nr_left: int
