"""Tracepoints of page migration.

Linux: include/trace/events/migrate.h (6.1).
"""
# ruff: noqa: N801 - a tracepoint's class has the tracepoint's name

from typing import Annotated, ClassVar

from kernelsim.trace.show import show_migrate_mode, show_migrate_reason
from kernelsim.trace.tracepoint import Field, Tracepoint


class mm_migrate_pages(Tracepoint, frozen=True):
    """A task tried to move pages to other frames."""

    when: ClassVar[str] = "end of the tries"

    succeeded: Annotated[int, Field("unsigned long", "pages that were moved", "pages")]
    failed: Annotated[int, Field("unsigned long", "pages that were not", "pages")]
    thp_succeeded: Annotated[int, Field("unsigned long", "huge pages that were moved", "pages")]
    thp_failed: Annotated[int, Field("unsigned long", "huge pages that were not", "pages")]
    thp_split: Annotated[int, Field("unsigned long", "huge pages that were split", "pages")]
    mode: Annotated[
        int, Field("enum migrate_mode", "how long it may wait", shown=show_migrate_mode)
    ]
    reason: Annotated[int, Field("int", "what they were moved for", shown=show_migrate_reason)]
