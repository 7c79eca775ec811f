"""kdamond: what it sees of a process, what it leaves to reclaim, and when it ends."""

import pytest

from kernelsim.errors import ConfigError
from kernelsim.mm.space.pgtable import pte_at, pte_pfn
from kernelsim.mm.space.rmap import folio_referenced
from tests.small_machine import run, small_machine

pytestmark = [pytest.mark.slow, pytest.mark.mission("B6")]

MIB = 1 << 20
AREA = 16 * MIB
SPEC = small_machine(cpus=("0-1",), memory="64M")


async def fill(machine):
    """Return a process with an area of which every page has been written."""
    process = await machine.spawn("hog", cpu=0)
    area = await process.mmap(AREA)
    await process.touch(area, write=True)
    return process, area


def test_what_is_used_is_seen_and_what_is_not_is_not():
    """Each interval tells of all regions, by rising address; only the used half is hot."""

    async def main(machine):
        process, area = await fill(machine)
        damon = machine.damon(process, sample="1ms", aggr="20ms", update="40ms")
        while machine.now_ns < 150_000_000:
            await process.touch(area, offset=0, length=AREA // 2)
            await process.sleep("500us")
        return area.address, damon.regions(process)

    done = run(SPEC, main)
    first, regions = done.result
    told = [event.fields for event in done.log.named("damon_aggregated")]
    last = told[-told[-1]["nr_regions"] :]
    starts = [each["start"] for each in last]
    assert starts == sorted(set(starts))
    assert len(regions) >= 10
    for parts in (last, [region._asdict() for region in regions]):
        middle, behind = first + AREA // 2, first + AREA
        hot = [r["nr_accesses"] for r in parts if first <= r["start"] and r["end"] <= middle]
        cold = [r["nr_accesses"] for r in parts if middle <= r["start"] and r["end"] <= behind]
        assert min(hot) > 10
        assert max(cold) == 0
    task = next(task for task in done.machine.kernel.kthreads if task.name == "kdamond.0")
    assert task.stime_ns > 0


def test_reclaim_still_knows_that_a_page_was_used():
    """The accessed bit that kdamond took counts once for reclaim, and then no more."""

    async def main(machine):
        process, area = await fill(machine)
        machine.damon(process, sample="1ms", aggr="2ms")
        await machine.sleep("60ms")
        space, mm = machine.kernel.space, machine.kernel.processes[process.pid].mm.number
        vpns = range(area.address >> 12, area.address + AREA >> 12)
        young = [vpn for vpn in vpns if not pte_at(*space, mm, vpn) & 0x20]
        pfns = [pte_pfn(pte_at(*space, mm, vpn)) for vpn in young]
        return [[folio_referenced(*space, pfn)[0] for pfn in pfns] for _ in range(2)]

    first, second = run(SPEC, main).result
    assert len(first) > 50
    assert set(first) == {1}
    assert set(second) == {0}


def test_it_ends_with_its_last_process_and_begins_anew_with_another():
    """A second process joins it; when both have ended it goes, and gives its stack back."""

    async def main(machine):
        stacks = []
        for _ in range(2):
            one, other = await machine.spawn("one"), await machine.spawn("other")
            for each in (one, other):
                await each.mmap("1M")  # else there is but one hole, and so no three regions
            machine.damon(one, sample="1ms", aggr="2ms")
            machine.damon(other)
            await machine.sleep("10ms")
            await one.exit()
            await machine.sleep("10ms")
            stacks.append("kdamond.0" in machine.engine.actors)
            await other.exit()
            await machine.sleep("10ms")
            stacks.append("kdamond.0" in machine.engine.actors)
            with pytest.raises(ConfigError, match="has not ended"):
                machine.damon(one)
        return stacks

    done = run(SPEC, main)
    assert done.result == [True, False, True, False]
    assert {event.fields["target_id"] for event in done.log.named("damon_aggregated")} == {0, 1}


def test_bursts_of_any_size_are_seen_alike():
    """What kdamond tells, and when, does not depend on how many pages are done in one go."""

    async def main(machine):
        process, area = await fill(machine)
        machine.damon(process, sample="200us", aggr="1ms")
        for _ in range(20):
            await process.touch(area)

    many, one = (run(SPEC, main, burst_pages=n).log.named("damon_aggregated") for n in (512, 16))
    assert len(many) > 40
    assert many == one


@pytest.mark.parametrize(
    ("words", "key"),
    [
        ({"sample": 0}, "sample"),
        ({"sample": "5ms", "aggr": "1ms"}, "aggr"),
        ({"min_regions": 2}, "min_regions"),
        ({"max_regions": 9}, "max_regions"),
    ],
)
def test_what_it_cannot_do_is_refused(words, key):
    """An interval that is none, and fewer regions than there are to begin with."""

    async def main(machine):
        with pytest.raises(ConfigError) as refused:
            machine.damon(await machine.spawn("one"), **words)
        return refused.value.key

    assert run(SPEC, main).result == key
