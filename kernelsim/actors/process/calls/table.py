"""The table of all calls: one line a family.

Interface: `CALLS`.
"""

from typing import Final

from kernelsim.actors.process.calls import (
    access,
    advising,
    compacting,
    executing,
    file_write,
    files,
    forking,
    life,
    limits,
    locking,
    looking,
    mapping,
    mempolicy,
    migrating,
    protecting,
    swapping,
    sysfs,
)
from kernelsim.actors.process.calls.call import CallTable

CALLS: Final = CallTable(
    (
        mapping.CALLS,
        protecting.CALLS,
        advising.CALLS,
        access.CALLS,
        locking.CALLS,
        swapping.CALLS,
        files.CALLS,
        file_write.CALLS,
        executing.CALLS,
        forking.CALLS,
        mempolicy.CALLS,
        migrating.CALLS,
        life.CALLS,
        limits.CALLS,
        sysfs.CALLS,
        looking.CALLS,
        compacting.CALLS,
    )
)
