"""Every declared tracepoint by name, built from the declarations.

Interface: `TRACEPOINTS`, in the order of subsystems below and of their files.
"""

from collections.abc import Mapping
from types import MappingProxyType, ModuleType
from typing import Final

from kernelsim.trace import (
    block,
    compaction,
    damon,
    exceptions,
    kmem,
    ks,
    migrate,
    oom,
    tlb,
    vmscan,
    writeback,
)
from kernelsim.trace.tracepoint import Tracepoint, TracepointInfo, describe

MODULES: Final = (
    kmem,
    vmscan,
    compaction,
    migrate,
    writeback,
    oom,
    exceptions,
    block,
    tlb,
    damon,
    ks,
)


def declared_in(module: ModuleType) -> tuple[TracepointInfo, ...]:
    """Return the tracepoints a module declares, in the order of its text."""
    return tuple(
        describe(value)
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Tracepoint) and value is not Tracepoint
    )


TRACEPOINTS: Final[Mapping[str, TracepointInfo]] = MappingProxyType(
    {info.name: info for module in MODULES for info in declared_in(module)}
)
