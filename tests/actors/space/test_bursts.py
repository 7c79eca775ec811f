"""Bursts among actors: accounts, log, interrupts and signals are those of single messages."""

import attrs
import pytest

from kernelsim.mm.burst.columns import H_NR
from tests.small_machine import PAGE, run, small_machine

SPREAD = {"cache_line_spread_permille": 1000}
BY_PAGE = ("ks_fault", "page_fault_user")  # one event a burst, one event a page


def outcome(spec, main, burst_pages):
    """Run; return the result, the log but for what is told by the page, and accounts.

    Of controllers and links a burst enters sums, not who waited for whom.
    """
    done = run(spec, main, burst_pages=burst_pages)
    log = sorted(
        (event.t_ns, event.actor, event.event, sorted(event.fields.items()))
        for event in done.log.events
        if event.event not in BY_PAGE
    )
    accounts = {
        name: account if "lock" in name else attrs.evolve(account, by_pair={})
        for name, account in done.machine.engine.accounts.items()
    }
    return done.result, log, accounts


def same_for_all_sizes(spec, main):
    """Require one outcome for every size of bursts; return it."""
    first = outcome(spec, main, 1)
    for burst_pages in (7, 512):
        found = outcome(spec, main, burst_pages)
        assert found[0] == first[0]
        assert found[1] == first[1]
        assert found[2] == first[2]
    return first


def test_waits_are_entered_and_logged_as_for_messages():
    """Every lock and controller has the same account, by pair of CPUs; every wait is in the log."""

    async def main(machine):
        async def program(process):
            await process.sleep(10_000_000 - machine.now_ns)
            await process.touch(await process.mmap("1M"), write=True)

        processes = [await machine.spawn(f"p{cpu}", program, cpu=cpu) for cpu in range(8)]
        for process in processes:
            await process.wait()

    spec = small_machine(cpus=("0-3", "4-7"), memory="64M", latency=SPREAD)
    _, log, accounts = same_for_all_sizes(spec, main)
    zone = next(account for name, account in accounts.items() if "DMA32 zone->lock" in name)
    assert zone.nr_waits > 0
    assert zone.wait_ns == sum(zone.by_pair.values())
    assert sum(event[2] == "ks_lock_wait" for event in log) >= zone.nr_waits


def test_who_reads_an_account_finds_all_holds_of_a_lock():
    """Compiled code keeps those that nobody waited for; a lock's account that is read has them."""

    async def main(machine):
        process = await machine.spawn("p")
        await process.touch(await process.mmap("1M"), write=True)
        lock, nr_kept = machine.kernel.nodes[0].lru_lock, int(machine.kernel.burst.holds[0, H_NR])
        return nr_kept, lock.server.account.nr_holds, lock.account.nr_holds

    nr_kept, nr_entered, nr_holds = run(small_machine(), main).result
    assert nr_kept > 0
    assert nr_holds > nr_entered


def test_who_looks_at_a_process_in_a_burst_sees_what_it_has_done():
    """Its statistics, /proc of it and of the CPU, at any time; a step begun counts whole."""
    step_ns = 1000  # no step of a fault takes as long

    async def main(machine):
        async def program(process):
            await process.touch(await process.mmap("8M"), write=True)

        process = await machine.spawn("p", program)
        seen = []
        for _ in range(5):
            await machine.sleep(150_001)
            stats, shown = process.stats, process.capture()
            user_ns = machine.kernel.cpus[0].state.user_ns
            times = (stats.utime_ns, stats.stime_ns, stats.lock_ns, user_ns, shown.utime_ns)
            seen.append((stats.pgfault, shown.minflt, machine.vmstat["pgfault"], times))
        return seen

    spec = small_machine(memory="32M", latency=SPREAD)
    found = [run(spec, main, burst_pages=pages).result for pages in (1, 512)]
    for by_messages, in_a_burst in zip(*found, strict=True):
        assert by_messages[:3] == in_a_burst[:3]
        for one, other in zip(by_messages[3], in_a_burst[3], strict=True):
            assert 0 <= other - one < step_ns
    assert len({pgfault for pgfault, *_ in found[1]}) == 5


@pytest.mark.parametrize("until_ns", [150_001, 300_001])
def test_a_run_that_ends_in_a_burst_counts_what_that_has_done(until_ns):
    """The faults of the process, its log and /proc/vmstat."""

    def left(burst_pages):
        processes = []

        async def main(machine):
            process = await machine.spawn("p")
            processes.append(process)
            await process.touch(await process.mmap("8M"), write=True)

        done = run(spec, main, burst_pages=burst_pages, until_ns=until_ns)
        told = sum(e.fields["nr_pages"] for e in done.log.events if e.event == "ks_fault")
        return told, processes[0].stats.pgfault, done.vm_events["pgfault"]

    spec = small_machine(memory="32M", latency=SPREAD)
    told, counted, begun = left(512)
    assert (told, counted, begun) == left(1)
    assert told == counted > 100
    assert begun - counted in (0, 1)


def test_watermarks_and_wakeups_come_when_they_come_for_messages():
    """Crossings, boosts, wake-ups of kswapd and what it does: the same log to the nanosecond."""

    async def main(machine):
        async def program(process):
            region = await process.mmap("9M")
            await process.touch(region, write=True)
            await process.touch(region, write=True, stride=3 * PAGE)

        processes = [await machine.spawn(f"p{cpu}", program, cpu=cpu) for cpu in range(2)]
        for process in processes:
            await process.wait()

    spec = small_machine(cpus=("0-2",), memory="16M", swap="64M", latency=SPREAD)
    _, log, _ = same_for_all_sizes(spec, main)
    named = {event[2] for event in log}
    assert {"ks_watermark", "mm_vmscan_wakeup_kswapd", "tlb_flush"} <= named


def test_each_zero_page_that_is_replaced_is_flushed_when_it_is_with_messages():
    """A store to a page that was only read: one flush a page, in the log at its time."""

    async def main(machine):
        process = await machine.spawn("p")
        region = await process.mmap(PAGE * 40)
        await process.touch(region)
        await process.touch(region, write=True)

    _, log, _ = same_for_all_sizes(small_machine(latency=SPREAD), main)
    flushes = [dict(fields) for _, _, event, fields in log if event == "tlb_flush"]
    assert sum(flush["pages"] == 1 for flush in flushes) == 40


def test_a_signal_ends_a_burst_where_it_ends_messages():
    """A killed program stops at its next access, with what it had done until then."""

    async def main(machine):
        victim = await machine.spawn("victim", cpu=0)
        region = await victim.mmap("8M")

        async def killer(_process):
            await machine.sleep(200_000)
            await victim.kill()

        await machine.spawn("killer", killer, cpu=1)
        result = await victim.touch(region, write=True)
        return result, victim.exit_status, machine.now_ns

    result, status, _ = same_for_all_sizes(small_machine(cpus=("0-1",)), main)[0]
    assert (result.signal, status) == (9, -9)
    assert 0 < result.minflt < 2048


def test_a_killed_program_gives_way_first_as_with_messages():
    """Whether others are to run is looked at before signals are, as the kernel does."""

    async def main(machine):
        async def compute(process):
            await process.touch(await process.mmap("64K"), write=True, passes=200_000)

        async def wait(process):
            await process.sleep("1s")

        victim = await machine.spawn("victim", compute, cpu=0)
        waiting = await machine.spawn("waiting", wait, cpu=0)
        await machine.sleep("5ms")
        await waiting.kill()  # it wakes up to end, and has run far less
        await victim.kill()
        statuses = [await process.wait() for process in (victim, waiting)]
        return statuses, machine.engine.clock.number

    statuses, _ = same_for_all_sizes(small_machine(), main)[0]
    assert statuses == [-9, -9]


def test_tasks_of_a_cpu_take_turns_as_with_messages():
    """A burst ends with the time slice when others wait for the CPU, and not before."""

    async def main(machine):
        async def program(process):
            await process.touch(await process.mmap("4M"), write=True, passes=40)
            return process.stats

        processes = [await machine.spawn(f"p{number}", program, cpu=0) for number in range(3)]
        for process in processes:
            await process.wait()
        return [process.stats for process in processes], machine.kernel.cpus[0].state.nr_switches

    stats, nr_switches = same_for_all_sizes(small_machine(), main)[0]
    assert nr_switches > 3
    assert all(each.run_delay_ns > 0 for each in stats)


@pytest.mark.parametrize("burst_pages", [1, 2, 512])
def test_accesses_in_a_given_order_cost_the_same(burst_pages):
    """Listed loads and stores, some of them to the same page, on swap and back."""

    async def main(machine):
        process = await machine.spawn("p")
        region = await process.mmap("12M")
        first = region.address // PAGE
        order = [first + page * 1031 % 3072 for page in range(3072)] * 2
        result = await process.touch_pages(order, [page % 3 != 0 for page in order])
        return result, process.stats, machine.now_ns

    spec = small_machine(memory="8M", swap="32M", latency=SPREAD)
    assert run(spec, main, burst_pages=burst_pages).result == run(spec, main).result


def test_accesses_queue_for_a_bus_as_messages_do():
    """Four CPUs on two buses, with memory of both nodes: present, fresh and zero pages."""

    async def main(machine):
        async def program(process):
            await process.sleep(10_000_000 - machine.now_ns)
            region = await process.mmap(64 * PAGE)
            await process.touch(region)
            await process.touch(region, write=True, stride=2 * PAGE)
            await process.touch(region, passes=3)
            return (await process.touch(region, write=True)).latency_ns

        policies = ("bind:0", "bind:1", "interleave:0-1", None)
        processes = [
            await machine.spawn(f"p{cpu}", program, cpu=cpu, mempolicy=policy)
            for cpu, policy in enumerate(policies)
        ]
        for process in processes:
            await process.wait()
        return [process.result for process in processes]

    bus = {"bus_bandwidth_bytes_per_s": 10**9, "memory_local_ns": 250}
    spec = small_machine(cpus=("0-1", "2-3"), memory="64M", latency=SPREAD | bus)
    _, _, accounts = same_for_all_sizes(spec, main)
    assert all(accounts[f"node {nid} bus"].wait_ns > 0 for nid in (0, 1))
    assert accounts["link0-1"].nr_holds > 64
