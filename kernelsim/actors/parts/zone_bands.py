"""Where the free pages of a node's zones are, between the watermarks, for the log.

Interface: `ZoneBands.look` after each change of free pages, `note` for one that a burst saw.
Units: pages, ns.
"""

from typing import Final

from kernelsim.actors.tracing import Named, trace
from kernelsim.mm.burst.bands import band_of
from kernelsim.mm.burst.columns import Burst
from kernelsim.mm.core.mem import Z_FREE, Z_MANAGED, Mem
from kernelsim.trace.ks import ks_watermark

BANDS: Final = ("below_min", "low_min", "high_low", "above_high")  # of a zone's free pages
NO_BAND: Final = -1  # of a zone without pages


class ZoneBands:
    """The zones of one node.

    Args:
        owner: In whose name crossings are logged.
        nid: The node.
        mem: Physical memory.
        zones: Rows of its zones.
        burst: Holds the band of each zone, as noted last; index into BANDS.

    Attributes:
        entries: By zone and band: how often it was entered, and when first, in ns.
    """

    def __init__(self, owner: Named, nid: int, mem: Mem, zones: range, burst: Burst) -> None:
        self.entries: dict[int, list[list[int]]] = {}
        self._owner = owner
        self._nid = nid
        self._mem = mem
        self._zones = zones
        self._burst = burst
        self._logged: dict[int, int] = {}  # bursts run ahead of the log
        self.memory_changed()

    def memory_changed(self) -> None:
        """Begin with zones that have memory now, and forget those that have none any more."""
        for zone in self._zones:
            if not self._mem.zone[zone, Z_MANAGED]:
                self._logged.pop(zone, None)
                self._burst.band[zone] = NO_BAND
            elif zone not in self._logged:
                self._logged[zone] = self._burst.band[zone] = band_of(self._mem, zone)

    def look(self) -> None:
        """Log which watermarks the free pages crossed since the last look, one by one."""
        for zone in self._logged:
            band = band_of(self._mem, zone)
            if band != self._burst.band[zone]:
                self._burst.band[zone] = band
                free = int(self._mem.zone[zone, Z_FREE])
                self.note(zone, band, free, self._owner.engine.now_ns)

    def note(self, zone: int, band: int, free: int, at_ns: int) -> None:
        """Log that the free pages of a zone came into another band, and those between."""
        before, self._logged[zone] = self._logged[zone], band
        step = 1 if band > before else -1
        entries = self.entries.setdefault(zone, [[0, 0] for _ in BANDS])
        for entered in range(before + step, band + step, step):
            entries[entered][0] += 1
            entries[entered][1] = entries[entered][1] or at_ns
        zid = zone - self._zones.start
        for left in range(before, band, step):
            point = ks_watermark(self._nid, zid, BANDS[left], BANDS[left + step], free)
            trace(self._owner, point, at_ns=at_ns)
