"""The multi-generational LRU on whole machines: in force, switched on and off, out of memory."""

import pytest

from kernelsim.mm.core.lru_gen import LG_MAX_SEQ, LG_NR_PAGES
from tests.small_machine import run, small_machine

WALKS, ONLY_RMAP, OFF = 3, 1, 0


def machine(**sysctl):
    """Describe 4 MiB with swap, which `thrash` is more than enough for."""
    settings = {f"lru_gen.{name}": value for name, value in sysctl.items()}
    return small_machine(memory="4M", swap="16M", sysctl=settings)


async def thrash(machine, *, passes=3):
    """Use more memory than there is, again and again."""
    hog = await machine.spawn("hog")
    region = await hog.mmap("6M")
    for _ in range(passes):
        if hog.exit_status is None:
            await hog.touch(region, write=True)
    return hog


@pytest.mark.mission("R6")
@pytest.mark.parametrize("enabled", [WALKS, ONLY_RMAP])
def test_pressure_makes_generations_and_takes_the_oldest(enabled):
    """Pages go to swap and come back; each generation is told of when it is born."""

    async def main(machine):
        await thrash(machine)
        return int(machine.mem.lru_gen[0, LG_MAX_SEQ])

    done = run(machine(enabled=enabled), main)
    assert done.result > 4
    events = done.vm_events
    assert min(events[name] for name in ("pswpout", "pswpin", "pgsteal_anon", "pgrefill")) > 0
    assert events["pgdeactivate"] == 0  # the lists' aging is not used
    born = [event.fields for event in done.log.named("ks_lru_gen")]
    assert [row["max_seq"] for row in born] == list(range(4, done.result + 1))
    assert any(row["nr_walked"] for row in born) == (enabled == WALKS)


def test_it_is_switched_on_and_off_while_memory_is_short():
    """Pages change their lists; nothing is lost, and reclaim goes on either way."""

    async def main(machine):
        hog = await machine.spawn("hog")
        region = await hog.mmap("6M")
        stolen = []
        for enabled in (OFF, WALKS, OFF, ONLY_RMAP):
            machine.sysctl("lru_gen.enabled", enabled)
            before = machine.vmstat["pgsteal_anon"]
            await hog.touch(region, write=True)
            stolen.append(machine.vmstat["pgsteal_anon"] - before)
            in_generations = bool(machine.mem.lru_gen[0, LG_NR_PAGES:].any())
            assert in_generations == (enabled != OFF)
        return stolen

    assert min(run(machine(), main).result) > 0


def test_words_may_be_written_and_the_bits_are_read():
    """As /sys/kernel/mm/lru_gen/enabled."""

    async def main(machine):
        seen = []
        for value in ("y", "n", "0x0007", 1):
            machine.sysctl("lru_gen.enabled", value)
            seen.append(machine.sysctl("lru_gen.enabled"))
        return seen

    assert run(machine(), main).result == [3, 0, 3, 1]


@pytest.mark.parametrize(("min_ttl_ms", "is_killed"), [(0, False), (1000, True)])
def test_the_oom_killer_comes_before_young_pages_go(min_ttl_ms, is_killed):
    """With min_ttl_ms a working set that does not fit ends its process instead of thrashing."""

    async def main(machine):
        hog = await thrash(machine)
        return hog.exit_status

    status = run(machine(enabled=WALKS, min_ttl_ms=min_ttl_ms), main).result
    assert status == (-9 if is_killed else None)


def test_bursts_change_no_counter():
    """Page by page or many at a time: generations are the same."""
    done = []
    for burst_pages in (1, 512):

        async def main(machine):
            await thrash(machine)
            return machine.mem.lru_gen.tolist(), machine.now_ns

        done.append(run(machine(enabled=WALKS), main, burst_pages=burst_pages))
    assert done[0].result == done[1].result
    assert done[0].vm_events == done[1].vm_events
