"""How faults on pages of mapped files end.

Linux: include/linux/mm_types.h: vm_fault_reason, 6.1.
"""

from enum import Enum
from signal import SIGBUS
from typing import Final

import attrs


class VmFault(Enum):
    """How an attempt to serve a fault ended; Linux's VM_FAULT_*."""

    DONE = 0
    RETRY = 1
    SIGBUS = 2
    KILLED = 3


@attrs.frozen
class FileFaultResult:
    """What has come of a fault.

    Attributes:
        end: Never RETRY.
        majflt: 1 if it counts as a major fault of the process.
        nr_mapped: Pages of the file that were mapped.
        new_pfn: The page that was made for a private mapping; 0 for none.
        why: Why it raises a signal.
    """

    end: VmFault
    majflt: int = 0
    nr_mapped: int = 0
    new_pfn: int = 0
    why: str = ""

    @property
    def signal(self) -> int:
        """Return the signal that the access raises; 0 for none."""
        return int(SIGBUS) if self.end is VmFault.SIGBUS else 0


RETRY: Final = FileFaultResult(VmFault.RETRY)
KILLED: Final = FileFaultResult(VmFault.KILLED)
IO_ERROR: Final = FileFaultResult(VmFault.SIGBUS, why="I/O error")
BEHIND_END: Final = FileFaultResult(VmFault.SIGBUS, why="behind the end of its file")
NO_SPACE: Final = FileFaultResult(VmFault.SIGBUS, why="no space")
