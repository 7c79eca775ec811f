"""The table of all calls: one line a family.

Interface: `CALLS`.
"""

from typing import Final

from kernelsim.actors.process.calls import (
    access,
    file_write,
    files,
    life,
    locking,
    mapping,
    mempolicy,
    migrating,
    swapping,
)
from kernelsim.actors.process.calls.call import CallTable

CALLS: Final = CallTable(
    (
        mapping.CALLS,
        access.CALLS,
        locking.CALLS,
        swapping.CALLS,
        files.CALLS,
        file_write.CALLS,
        mempolicy.CALLS,
        migrating.CALLS,
        life.CALLS,
    )
)
