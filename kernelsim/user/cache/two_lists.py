"""Two lists, as Linux keeps the pages of files that are read: inactive and active.

A page comes in at the head of the inactive list. Its first use marks it referenced, the second
makes it active. The tail of the inactive list goes; when that list is shorter than it may be, the
tail of the active list becomes the head of the inactive one.

    in -> | inactive        | -> out, leaves a shadow
               | ^
    second use v | when inactive is low, or a page just evicted came back for good
          | active          |

Interface: `TwoLists`.
"""

from collections import OrderedDict

from kernelsim.mm.reclaim.inactive_ratio import inactive_ratio


class TwoLists:
    """The lists of file pages of one node, all of it memory for them.

    Differs: A comparison of policies on a trace evicts one page when one is needed; Linux reclaims
    batches of 32 from watermark to watermark, scans a share of each list, and activates by batches
    of 15.

    Args:
        size: Pages of the cache.

    Source: Linux 6.1 mm/swap.c:folio_mark_accessed, mm/vmscan.c:shrink_lruvec, mm/workingset.c
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.ratio = inactive_ratio(size)
        # Pages, tail of the list first, and whether each is marked PG_referenced.
        self.inactive: OrderedDict[int, bool] = OrderedDict()
        self.active: OrderedDict[int, bool] = OrderedDict()
        self.shadows: OrderedDict[int, int] = OrderedDict()  # of evicted pages: age at eviction
        self.nonresident_age = 0
        self.refault_activated = False  # since the last page was reclaimed

    def access(self, page: int, now_ns: int) -> bool:
        """Read a page, and mark it as used: `folio_mark_accessed`."""
        is_hit = page in self.inactive or page in self.active
        if not is_hit:
            self.read_ahead(page, now_ns)
        if page in self.active:
            self.active[page] = True  # stays where it is in the list
        elif self.inactive[page]:
            del self.inactive[page]
            self.active[page] = False
            self.nonresident_age += 1
        else:
            self.inactive[page] = True
        return is_hit

    def read_ahead(self, page: int, now_ns: int) -> None:  # noqa: ARG002 - time means nothing here
        """Bring a page in: inactive, or active if its refault distance is no longer than that."""
        if page in self.inactive or page in self.active:
            return
        if len(self.inactive) + len(self.active) == self.size:
            self._reclaim()
        shadow = self.shadows.pop(page, None)
        if shadow is not None and self.nonresident_age - shadow <= len(self.active):
            self.active[page] = False
            self.nonresident_age += 1
            self.refault_activated = True
        else:
            self.inactive[page] = False

    def _reclaim(self) -> None:
        if self.refault_activated or len(self.inactive) * self.ratio < len(self.active):
            page, is_referenced = self.active.popitem(last=False)
            self.inactive[page] = is_referenced
        self.refault_activated = False
        page, _ = self.inactive.popitem(last=False)
        self.shadows[page] = self.nonresident_age
        self.nonresident_age += 1
        if len(self.shadows) > self.size:  # older ones are farther away than any active list
            self.shadows.popitem(last=False)
