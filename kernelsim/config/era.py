"""What differs between kernels of today and older ones, in one value.

Linux: 6.1; 4.16, of which published figures of large servers are; 2.6.32 for "classic", the kernels
that the older books describe.
Interface: `ERAS` by the name a machine file gives; what an era decides is read from its `Era`.
A difference is here once it has an effect.
Differs: An older era differs from 6.1 in what `Era` has, and in nothing else: its other rules, its
files in /proc and its tracepoints are those of 6.1.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import attrs

__all__ = ["CLASSIC", "ERAS", "LINUX_4_16", "LINUX_6_1", "Era"]


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
    pcp_batch_bytes_max: int
    """A quarter of this is the most that moves between a per-CPU list and a zone in one go."""
    pcp_scales: bool
    """Whether the length of per-CPU lists follows the low watermark, and one that only frees gives
    more and more back in one go; else a list has 6 batches and gives one back."""
    compaction: bool
    """Whether memory is compacted, by who needs a block and by kcompactd."""
    vmap_stack: bool
    """Whether kernel stacks of 64 bits are four pages of vmalloc, and any is free when its thread
    has run for the last time; else two pages in a row, free when the parent has heard of its end.
    Both came with 4.9."""
    maple_tree: bool
    """Whether the mappings of a process are in a maple tree, which came with 6.1, and its nodes in
    slabs of their own; else in a red-black tree of the vm_area_structs themselves."""
    sysctl_maximum: Mapping[str, int]
    """Tunables with another maximum than the table of tunables gives, by the kernel's key."""


LINUX_6_1: Final = Era(
    name="6.1",
    release="6.1.0",
    struct_page_bytes=64,
    watermark_scale=True,
    pdflush=False,
    pcp_batch_bytes_max=1 << 20,
    pcp_scales=True,
    compaction=True,
    vmap_stack=True,
    maple_tree=True,
    sysctl_maximum=MappingProxyType({}),
)
LINUX_4_16: Final = Era(
    name="4.16",
    release="4.16.0",
    struct_page_bytes=64,
    watermark_scale=True,
    pdflush=False,
    pcp_batch_bytes_max=512 << 10,  # doubled with 4.19
    pcp_scales=False,  # came with 5.14
    compaction=True,
    vmap_stack=True,
    maple_tree=False,
    sysctl_maximum=MappingProxyType(
        {"vm.swappiness": 100, "lru_gen.enabled": 0, "lru_gen.min_ttl_ms": 0}
    ),
)
CLASSIC: Final = Era(
    name="classic",
    release="2.6.32",
    struct_page_bytes=40,
    watermark_scale=False,  # came with 4.6
    # Differs from Linux: The classic era has pdflush, whose last kernel was 2.6.31.
    pdflush=True,
    # Differs from Linux: Per-CPU lists of the classic era are as long as those of 6.1.
    pcp_batch_bytes_max=1 << 20,
    pcp_scales=True,
    compaction=False,  # came with 2.6.35, kcompactd with 4.6
    vmap_stack=False,
    maple_tree=False,
    sysctl_maximum=MappingProxyType(
        {
            "vm.swappiness": 100,  # 200 came with 5.8
            "lru_gen.enabled": 0,  # the multi-generational LRU came with 6.1
            "lru_gen.min_ttl_ms": 0,
        }
    ),
)
ERAS: Final = {era.name: era for era in (LINUX_6_1, LINUX_4_16, CLASSIC)}
