"""Which areas may hold the same anonymous pages, and so may become one.

Linux: mm/rmap.c: anon_vma_prepare, anon_vma_clone, anon_vma_fork; mm/mmap.c:
find_mergeable_anon_vma, 6.1.
An area gets an anon_vma when the first page of its own is to be put into it; areas cut out of it
keep it. After a fork the child's areas are in the anon_vmas of all their ancestors, too, and have a
chain of several.
Differs: Pages do not point to their anon_vma; rmap.py finds where they are mapped by other means.
Here it only decides which areas merge.

Interface: `AnonVma`, kept in `VmArea.anon_vma` and `.anon_chain`; `is_mergeable_anon_vma`.
"""

import attrs


@attrs.define(eq=False)
class AnonVma:
    """One anon_vma; it is itself and no other.

    Attributes:
        parent: That of the area this one's was a copy of; None for the first of all.
    """

    parent: "AnonVma | None" = None


AnonChain = tuple[AnonVma, ...]  # an area's own first, then those of its ancestors


def is_mergeable_anon_vma(
    one: AnonVma | None, other: AnonVma | None, chain: AnonChain | None
) -> bool:
    """Tell whether areas with two anon_vmas, or none, can be one area.

    Args:
        one: Of what is to be added.
        other: Of the area that it would become part of.
        chain: Of that area; None if it does not matter whether that is a copy made by fork.

    Source: Linux 6.1 mm/mmap.c:is_mergeable_anon_vma
    """
    if (one is None or other is None) and (chain is None or len(chain) == 1):
        return True
    return one is other
