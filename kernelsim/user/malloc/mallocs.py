"""The allocators by name.

Interface: `MALLOCS`; to add one, give it a row.
"""

from collections.abc import Callable, Mapping
from typing import Final

from kernelsim.user.malloc.dlmalloc import Dlmalloc
from kernelsim.user.malloc.jemalloc import JeMalloc
from kernelsim.user.malloc.libumem import LibUmem
from kernelsim.user.malloc.protocol import Malloc, System
from kernelsim.user.malloc.ptmalloc2 import Ptmalloc2
from kernelsim.user.malloc.tcmalloc import TcMalloc

MALLOCS: Final[Mapping[str, Callable[[System], Malloc]]] = {
    "ptmalloc2": Ptmalloc2,
    "dlmalloc": Dlmalloc,
    "jemalloc": JeMalloc,
    "tcmalloc": TcMalloc,
    "libumem": LibUmem,
}
