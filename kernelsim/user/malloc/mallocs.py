"""The allocators by name.

Interface: `MALLOCS`; to add one, give it a row.
"""

from collections.abc import Callable, Mapping
from typing import Final

from kernelsim.user.malloc.protocol import Malloc, System

MALLOCS: Final[Mapping[str, Callable[[System], Malloc]]] = {}
