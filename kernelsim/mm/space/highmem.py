"""Permanent kernel mappings of pages of high memory: a table of slots that may run out.

Linux: mm/highmem.c (kmap_high, map_new_virtual, flush_all_zero_pkmaps, kunmap_high), 6.1.
A slot whose last user is gone stays mapped (count 1) until all slots have been gone through; then
all such slots are emptied at once, with one flush of all TLBs.
Interface: `Pkmap`.
"""

from typing import Final

NO_SLOT: Final = -1


class Pkmap:
    """The slots.

    Args:
        last_pkmap: How many.

    Attributes:
        count: Of each slot: 0 free, 1 without users but not flushed, else users + 1.
        pfn: Frame of each slot that is not free.
        nr_flushes: Times all TLBs had to be flushed.
    """

    def __init__(self, last_pkmap: int) -> None:
        self.count = [0] * last_pkmap
        self.pfn = [0] * last_pkmap
        self.nr_flushes = 0
        self._slot_of: dict[int, int] = {}
        self._last_nr = 0

    def kmap_high(self, pfn: int) -> int:
        """Map a frame, or count one more user of it; return its slot, NO_SLOT if none is free.

        `nr_flushes` tells whether TLBs must be flushed before the slot is used.

        Source: Linux 6.1 mm/highmem.c:kmap_high
        """
        slot = self._slot_of.get(pfn, NO_SLOT)
        if slot == NO_SLOT:
            slot = self._map_new_virtual(pfn)
        if slot != NO_SLOT:
            self.count[slot] += 1
        return slot

    def _map_new_virtual(self, pfn: int) -> int:
        left = len(self.count)
        while left:
            self._last_nr = (self._last_nr + 1) % len(self.count)
            if not self._last_nr:
                self._flush_all_zero_pkmaps()
                left = len(self.count)
            if not self.count[self._last_nr]:
                self.count[self._last_nr] = 1
                self.pfn[self._last_nr] = pfn
                self._slot_of[pfn] = self._last_nr
                return self._last_nr
            left -= 1
        return NO_SLOT

    def _flush_all_zero_pkmaps(self) -> None:
        unused = [slot for slot, count in enumerate(self.count) if count == 1]
        for slot in unused:
            self.count[slot] = 0
            del self._slot_of[self.pfn[slot]]
        self.nr_flushes += bool(unused)

    def kunmap_high(self, pfn: int) -> bool:
        """Take a user off a frame; return whether that was the last.

        Source: Linux 6.1 mm/highmem.c:kunmap_high
        """
        slot = self._slot_of.get(pfn, NO_SLOT)
        assert slot != NO_SLOT, f"frame {pfn} has no slot"
        assert self.count[slot] > 1, f"frame {pfn} has no user"
        self.count[slot] -= 1
        return self.count[slot] == 1

    def nr_users(self, pfn: int) -> int:
        """Return how many users a frame has."""
        slot = self._slot_of.get(pfn, NO_SLOT)
        return 0 if slot == NO_SLOT else self.count[slot] - 1
