"""kswapd wakes below low and sleeps above high; a filling machine crosses the marks in order."""

from itertools import pairwise

import attrs
import pytest

from kernelsim.mm.core.mem import Z_FREE, Z_WMARK_HIGH, Z_WMARK_LOW, Z_WMARK_MIN
from tests.memory_sink import MemorySink
from tests.small_machine import PAGE, OpenMachine, small_machine

pytestmark = [pytest.mark.mission("A4"), pytest.mark.mission("R2")]

ORDER = ["above_high", "high_low", "low_min", "below_min"]
NO_BOOST = {"vm.watermark_boost_factor": 0, "vm.compaction_proactiveness": 0}


@attrs.define
class Witness(MemorySink):
    """Keeps events with the free pages at that moment."""

    machine: OpenMachine | None = attrs.field(default=None, kw_only=True)
    free: list[int] = attrs.field(factory=list, init=False)

    def emit(self, t_ns, actor, event, fields):
        """Keep one."""
        if self.wants(actor, event):
            super().emit(t_ns, actor, event, fields)
            self.free.append(int(self.machine.mem.zone[0, Z_FREE]))

    def at(self, event):
        """Return the free pages at each event of a name."""
        return [
            free for kept, free in zip(self.events, self.free, strict=True) if kept.event == event
        ]


@pytest.fixture(scope="module")
def filled():
    """Fill a machine to far below high, pause, fill it again; return machine and witness."""
    spec = small_machine(cpus=("0-1",), memory="16M", swap="64M", sysctl=NO_BOOST)
    witness = Witness()
    machine = OpenMachine(spec, sink=witness)
    witness.machine = machine

    async def main(machine):
        process = await machine.spawn("p", cpu=0)
        for size in ("18M", "4M", "4M"):
            await process.touch(await process.mmap(size), write=True)
            await machine.sleep("1s")

    machine.run(main)
    return machine, witness


def test_kswapd_is_woken_below_low_and_not_before(filled):
    """At each wake-up the zone has at most the low watermark free."""
    machine, witness = filled
    woken = witness.at("mm_vmscan_wakeup_kswapd")
    assert woken
    assert max(woken) <= machine.mem.zone[0, Z_WMARK_LOW]


def test_kswapd_sleeps_above_high_and_not_before(filled):
    """It does not stop at low: at each sleep the zone has more than the high watermark free."""
    machine, witness = filled
    slept = witness.at("mm_vmscan_kswapd_sleep")
    assert len(slept) >= 3  # after each of the three rounds, and at boot
    assert min(slept) > machine.mem.zone[0, Z_WMARK_HIGH]


def test_between_low_and_high_it_depends_on_where_the_zone_came_from(filled):
    """Hysteresis: on the way down kswapd sleeps in high..low; on the way up it works there."""
    _, witness = filled
    kswapd_works = False
    seen = set()
    for event in witness.events:
        if event.event == "mm_vmscan_wakeup_kswapd":
            kswapd_works = True
        elif event.event == "mm_vmscan_kswapd_sleep":
            kswapd_works = False
        elif event.event == "ks_watermark" and event.fields["band_to"] == "high_low":
            seen.add((event.fields["band_from"], kswapd_works))
    assert ("above_high", False) in seen
    assert ("low_min", True) in seen
    assert ("low_min", False) not in seen


def test_the_marks_are_crossed_in_order(filled):
    """Filling goes through the bands one by one, and every crossing starts where the last ended."""
    machine, witness = filled
    crossings = [event.fields for event in witness.named("ks_watermark")]
    bands = [crossings[0]["band_from"]] + [fields["band_to"] for fields in crossings]
    first_below = bands.index("below_min")
    assert bands[0] == "above_high"
    assert list(dict.fromkeys(bands[: first_below + 1])) == ORDER
    for before, after in pairwise(crossings):
        assert after["band_from"] == before["band_to"]
    for fields in crossings:
        assert abs(ORDER.index(fields["band_to"]) - ORDER.index(fields["band_from"])) == 1
    minimum = machine.mem.zone[0, Z_WMARK_MIN]
    for fields in crossings:
        if fields["band_to"] == "below_min":
            assert fields["free_pages"] <= minimum


def test_above_low_kswapd_sleeps_through_everything():
    """Filling down to just above low wakes nobody, once it sleeps for good after boot."""
    spec = small_machine(memory="16M", swap="64M", sysctl=NO_BOOST)
    log = MemorySink()
    machine = OpenMachine(spec, sink=log)

    async def main(machine):
        zone = machine.mem.zone[0]
        await machine.sleep("1s")
        process = await machine.spawn("p")
        room = int(zone[Z_FREE] - zone[Z_WMARK_LOW])
        await process.touch(await process.mmap((room - 20) * PAGE), write=True)
        await machine.sleep("1s")
        return int(zone[Z_FREE])

    free = machine.run(main)
    assert machine.mem.zone[0, Z_WMARK_LOW] < free < machine.mem.zone[0, Z_WMARK_HIGH]
    assert log.named("mm_vmscan_wakeup_kswapd") == []
