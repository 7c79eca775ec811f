"""Tests of whole machines: the same seed gives the same run, and what is taken is given back."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from kernelsim.check.machine import require_sound
from kernelsim.errors import CheckFailedError, ConfigError
from kernelsim.mm.core.mem import Z_WMARK_MIN, PG_kernel, nids_of
from kernelsim.mm.core.vmstat import NR_PAGE_TABLE_PAGES
from kernelsim.mm.swap.swap_area import SS_FREE, SS_TOTAL
from tests.small_machine import PAGE, OpenMachine, Run, free_pages, run, small_machine

TOP = Path(__file__).resolve().parent.parent
SEEDS = 8
SPEC = {"cpus": ("0-1",), "memory": "4M", "swap": "16M"}


async def two_processes(machine):
    """Let two processes want more together than there is."""

    async def program(process):
        region = await process.mmap("2M")
        await process.touch(region, write=True, passes=2)

    processes = [await machine.spawn(name, program) for name in ("a", "b")]
    return [await process.wait() for process in processes]


def digest(seed: int) -> str:
    """Run with a seed, also for the order of simultaneous events; return a hash of all events."""
    done = run(small_machine(**SPEC), two_processes, seed=seed, schedule_seed=seed)
    assert done.result == [0, 0]
    lines = [
        (event.t_ns, event.actor, event.event, dict(event.fields)) for event in done.log.events
    ]
    assert len(lines) > 100
    return hashlib.sha256(msgspec.json.encode(lines)).hexdigest()


def digests_of_a_new_interpreter(hash_seed: str) -> list[str]:
    """Run all seeds in a Python of its own."""
    code = f"from tests.test_machine import digest; print(*map(digest, range({SEEDS})))"
    command = [sys.executable, "-c", code]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run(
        command, cwd=TOP, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


@pytest.mark.slow
def test_the_same_seed_gives_the_same_events_under_any_hash_seed():
    """Eight seeds, each run in interpreters with two hash seeds and in this one."""
    first = digests_of_a_new_interpreter("1")
    assert len(first) == SEEDS
    assert first == digests_of_a_new_interpreter("4242")
    assert first[:3] == [digest(seed) for seed in range(3)]
    assert len(set(first)) > SEEDS // 2  # other schedule seeds are other runs


def four_processes(schedule_seed: int | None) -> Run:
    """Run four processes on two CPUs, with swap in use, until each has ended in its own way."""

    async def main(machine):
        async def writer(process):
            region = await process.mmap("18M")
            await process.touch(region, write=True)
            await process.touch(region, write=True)

        async def churner(process):
            for _ in range(3):
                region = await process.mmap("2M")
                await process.touch(region, write=True)
                await process.munmap(region)

        async def reader(process):
            region = await process.mmap("4M")
            await process.touch(region)
            await process.touch(region, write=True, length="1M")
            await process.madvise_dontneed(region)
            await process.touch(region)

        async def lost(process):
            region = await process.mmap("2M")
            await process.touch(region, write=True)
            await process.touch(region, write=True, length="3M")  # runs off the end

        await machine.sleep("300ms")  # boot is over, kswapd sleeps
        before = accounted(machine)
        programs = [writer, churner, reader, lost]
        processes = [await machine.spawn(each.__name__, each) for each in programs]
        statuses = [await process.wait() for process in processes]
        await machine.sleep("2s")  # the last writes to swap end, and free what they wrote
        left, kept = accounted(machine), orphans(machine)
        last = await machine.spawn("last")  # reclaims what nobody uses
        await last.touch(await last.mmap("14M"), write=True)
        await last.exit()
        await machine.sleep("2s")
        return before, left + kept, accounted(machine) + orphans(machine), statuses

    spec = small_machine(cpus=("0-1",), memory="16M", swap="64M")
    return run(spec, main, schedule_seed=schedule_seed)


def accounted(machine) -> int:
    """Return the pages anybody may have, in free lists or in per-cpu lists, and the kernel's."""
    mem = machine.mem
    kernel_pages = int(np.count_nonzero(mem.pages.flags & np.uint32(PG_kernel)))
    return free_pages(machine) + int(mem.pcp_count.sum()) + kernel_pages


def orphans(machine) -> int:
    """Return the pages left in the swap cache without a user; nothing else uses swap then.

    A page that is being written when its process ends cannot be freed yet. As in Linux nobody
    looks at it again before reclaim does.
    """
    kernel = machine.kernel
    cached = int(np.count_nonzero(kernel.swap.cache_pfn))
    taken_ahead = int(kernel.swap.cpu_slots_left.sum())
    assert cached + taken_ahead == kernel.swap.state[SS_TOTAL] - kernel.swap.state[SS_FREE]
    return cached


@pytest.mark.slow
def test_every_schedule_keeps_the_invariants_and_gives_all_pages_back():
    """Other orders of simultaneous events are other runs, sound ones, with the same outcome."""
    ends = set()
    for schedule_seed in (None, *range(4)):
        done = four_processes(schedule_seed)  # checks all invariants at the end
        before, after, at_last, statuses = done.result
        assert statuses == [0, 0, 0, -11]
        assert after == at_last == before
        assert done.vm_events["pswpout"] > 0
        ends.add((done.machine.now_ns, done.vm_events["pgscan_kswapd"], len(done.log.events)))
    assert len(ends) > 3


def test_invariants_hold_all_along():
    """Not only at the end: a check every 300 events, while pages are in flight between actors."""
    checks = []

    def watch(machine):
        clock = machine.engine.clock

        def tick(_is_time):
            checks.append(clock.number)
            clock.set_tick(None, clock.number + 300)
            require_sound(machine.kernel)

        clock.on_tick = tick
        clock.set_tick(None, 300)

    done = run(small_machine(**SPEC), two_processes, on_boot=watch, burst_pages=63)
    assert done.result == [0, 0]
    assert len(checks) > 10


@pytest.mark.parametrize("burst_pages", [0, 4097])
def test_a_burst_out_of_range_is_refused(burst_pages):
    """One page to 4096."""
    with pytest.raises(ConfigError, match="burst_pages"):
        OpenMachine(small_machine(), burst_pages=burst_pages)


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"cpu": 2}, "cpu"),
        ({"cpu": -1}, "cpu"),
        ({"mempolicy": "bind:2"}, "mempolicy"),
        ({"mempolicy": "bind:"}, "mempolicy"),
        ({"mempolicy": "somewhere:0"}, "mempolicy"),
    ],
)
def test_a_process_cannot_be_started_where_there_is_nothing(options, key):
    """CPUs and nodes that the machine has not are refused with the name of the argument."""

    async def main(machine):
        await machine.spawn("p", **options)

    with pytest.raises(ConfigError, match=key):
        run(small_machine(cpus=("0", "1")), main)


@pytest.mark.parametrize(
    ("policy", "on_node"),
    [(None, [256, 0]), ("bind:1", [0, 256]), ("preferred:1", [0, 256]), ("bind:0-1", [256, 0])],
)
def test_a_memory_policy_says_where_pages_come_from(policy, on_node):
    """The local node without one; the first node allowed with one."""

    async def main(machine):
        process = await machine.spawn("p", cpu=0, mempolicy=policy)
        before = [int(node.nr_granted) for node in machine.kernel.nodes]
        await process.touch(await process.mmap(PAGE), write=True)  # its page tables are there now
        region = await process.mmap(PAGE * 256)
        tables = [int(node.nr_granted) for node in machine.kernel.nodes]
        await process.touch(region, write=True)
        assert sum(tables) > sum(before)
        return [
            int(node.nr_granted) - then
            for node, then in zip(machine.kernel.nodes, tables, strict=True)
        ]

    fixed = {"kernel.randomize_va_space": 0}  # else one table may not do for the region
    assert run(small_machine(cpus=("0", "1"), sysctl=fixed), main).result == on_node


@pytest.mark.mission("P9")
@pytest.mark.parametrize(
    ("policy", "cpu", "nid"),
    [(None, 0, 0), (None, 1, 1), ("bind:1", 0, 1), ("preferred:1", 0, 1), ("bind:0-1", 1, 1)],
)
def test_page_tables_follow_the_memory_policy(policy, cpu, nid):
    """They lie where the pages lie; of several nodes allowed the local one is asked first."""

    async def main(machine):
        process = await machine.spawn("p", cpu=cpu, mempolicy=policy)
        await process.touch(await process.mmap(PAGE), write=True)
        kernels = np.flatnonzero(machine.mem.pages.flags & PG_kernel)  # stack, slabs
        held = np.bincount(nids_of(machine.mem, kernels), minlength=2).tolist()
        granted = [int(n.nr_granted) - k for n, k in zip(machine.kernel.nodes, held, strict=True)]
        return granted, machine.mem.node_stat[:, NR_PAGE_TABLE_PAGES].tolist()

    granted, counted = run(small_machine(cpus=("0", "1")), main).result
    assert (granted[nid], counted[nid]) == (5, 2)  # a table a level and the page; two are counted
    assert (granted[1 - nid], counted[1 - nid]) == (0, 0)


def test_preferred_falls_back_and_bind_does_not():
    """A full node sends a preferring process to the next, and makes a bound one swap."""

    async def main(machine):
        spread = await machine.spawn("spread", cpu=0, mempolicy="preferred:1")
        await spread.touch(await spread.mmap("20M"), write=True)
        swapped = spread.stats.swap_pages
        await spread.exit()
        bound = await machine.spawn("bound", cpu=0, mempolicy="bind:1")
        await bound.touch(await bound.mmap("20M"), write=True)
        return swapped, bound.stats.swap_pages

    # Page tables in a movable block would boost the watermarks of so small a node.
    spec = small_machine(cpus=("0", "1"), swap="32M", sysctl={"vm.watermark_boost_factor": 0})
    swapped, of_bound = run(spec, main).result
    assert swapped == 0 < of_bound


def test_a_written_tunable_is_in_force_at_once():
    """Watermarks follow vm.min_free_kbytes; the value is told back."""

    async def main(machine):
        marks = [int(machine.mem.zone[0, Z_WMARK_MIN])]
        assert machine.sysctl("vm.min_free_kbytes", 2048) == 2048
        assert machine.sysctl("vm.min_free_kbytes") == 2048
        return [*marks, int(machine.mem.zone[0, Z_WMARK_MIN])]

    before, after = run(small_machine(), main).result
    assert before < after == 2048 // 4


def test_an_expectation_that_does_not_hold_fails_the_run():
    """At its end, after all others, with place, text and virtual time."""
    reached = []

    async def main(machine):
        await machine.sleep("3us")
        reached.append(machine.expect(True, "this holds"))
        reached.append(machine.expect(False, "pigs fly"))
        reached.append(machine.expect(False))

    with pytest.raises(CheckFailedError) as caught:
        run(small_machine(), main)
    assert reached == [True, False, False]
    line = main.__code__.co_firstlineno + 3
    assert str(caught.value) == (
        f"FAILED {__file__}:{line}: pigs fly (at 3 us); "
        f"FAILED {__file__}:{line + 1}: what is expected there does not hold (at 3 us)"
    )


def test_a_workload_draws_from_streams_of_the_seed():
    """The same seed and name give the same numbers, others otherwise; none is ours."""

    async def main(machine):
        assert machine.rng("a") is machine.rng("a")
        drawn = [machine.rng(name).bits(64) for name in ("a", "b", "a")]
        assert machine.engine.rng("a").bits(64) not in drawn
        with pytest.raises(ConfigError, match="rng = 5: must be a name"):
            machine.rng(5)
        return drawn

    first, again, other = (run(small_machine(), main, seed=seed).result for seed in (1, 1, 2))
    assert first == again
    assert len({*first, *other}) == 6


def test_hooks_are_called_at_boot_and_for_each_snapshot():
    """In that order, with the machine and the name."""
    seen = []

    async def on_snapshot(name):
        seen.append(name)

    def on_boot(machine):
        seen.append((machine.now_ns, "boot"))

    async def main(machine):
        await machine.sleep(5)
        await machine.snapshot("first")

    run(small_machine(), main, on_boot=on_boot, on_snapshot=on_snapshot)
    assert seen == [(0, "boot"), "first"]


def test_a_run_ends_at_its_time_limit():
    """Whatever the workload still wants."""

    async def main(machine):
        await machine.sleep("1h")

    done = run(small_machine(), main, until_ns=1_000_000)
    assert (done.result, done.machine.now_ns) == (None, 1_000_000)


BOOT = """
import resource, sys
from kernelsim.config.machine_file import load_machine
from kernelsim.machine import Machine

def resident():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10

before = resident()
machine = Machine(load_machine(sys.argv[1]))
columns = sum(column.nbytes for column in machine.mem.pages)
print(columns, resident() - before, machine.kernel.zero_pfn)
"""


@pytest.mark.slow
def test_boot_touches_a_small_share_of_the_columns(tmp_path):
    """4 TiB in one node boot in less than a hundredth of what their pages' columns could take."""
    file = tmp_path / "huge.toml"
    file.write_text('name = "huge"\n[[node]]\ncpus = "0-7"\nmemory = "4T"\n')
    command = [sys.executable, "-c", BOOT, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    columns, resident, zero_pfn = map(int, done.stdout.split())
    assert columns >= 40 << 30
    assert resident < columns // 100
    assert zero_pfn == 1 << 20  # what boot keeps of the zone Normal, which starts at 4 GiB
