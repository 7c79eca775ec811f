"""What differs between kernels of today and those the older books describe, in one value.

Linux: 6.1, and 2.6.32 for "classic".
Interface: `ERAS` by the name a machine file gives; what an era decides is read from its `Era`.
A difference is here once it has an effect.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import attrs

__all__ = ["CLASSIC", "ERAS", "LINUX_6_1", "Era"]


@attrs.frozen(kw_only=True)
class Era:
    """Rules of one generation of kernels."""

    name: str
    """As machine files have it."""
    release: str
    """As the kernel log and uname have it."""
    struct_page_bytes: int
    """Size of a struct page: what the kernel's map of memory costs for each frame."""
    watermark_scale: bool
    """Whether vm.watermark_scale_factor spreads the watermarks; else low is min * 5/4 and high
    min * 3/2."""
    pdflush: bool
    """Whether a pool of threads writes files back and a writer over the limit helps; else each
    disk has a flusher, and writers pause."""
    sysctl_maximum: Mapping[str, int]
    """Tunables with another maximum than the table of tunables gives, by the kernel's key."""


LINUX_6_1: Final = Era(
    name="6.1",
    release="6.1.0",
    struct_page_bytes=64,
    watermark_scale=True,
    pdflush=False,
    sysctl_maximum=MappingProxyType({}),
)
CLASSIC: Final = Era(
    name="classic",
    release="2.6.32",
    struct_page_bytes=40,
    watermark_scale=False,  # came with 4.6
    pdflush=True,  # went with 2.6.32
    sysctl_maximum=MappingProxyType(
        {
            "vm.swappiness": 100,  # 200 came with 5.8
            "lru_gen.enabled": 0,  # the multi-generational LRU came with 6.1
            "lru_gen.min_ttl_ms": 0,
        }
    ),
)
ERAS: Final = {era.name: era for era in (LINUX_6_1, CLASSIC)}
