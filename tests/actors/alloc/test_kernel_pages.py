"""Pages for the kernel: how far down each kind of request goes, and what waits."""

from functools import partial

import pytest

from kernelsim.actors.alloc.net_device import NetStatistics
from kernelsim.actors.alloc.warn_alloc import running
from kernelsim.errors import ConfigError, WorkloadError
from kernelsim.mm.core.mem import PG_kernel
from kernelsim.mm.core.vmstat import ALLOCSTALL_DMA
from tests.small_machine import PAGE, run, small_machine

TUNABLES = {"vm.watermark_boost_factor": 0, "vm.min_free_kbytes": 1024}
LARGE = 100_000  # pages; more than the machine has


def kernel_run(main, *, cpus="0-1", **options):
    """Run a workload on a machine of 16 MiB with swap on a slow disk."""
    disk = {"write_latency": "5ms", "bandwidth": "4M"}
    spec = small_machine(cpus=(cpus,), swap="32M", disk=disk, sysctl=TUNABLES)
    return run(spec, main, **options)


@pytest.mark.mission("V9")
@pytest.mark.parametrize(("gfp", "eighths"), [("GFP_ATOMIC", 3), ("GFP_NOWAIT", 8)])
def test_what_may_not_wait_stops_at_its_mark(gfp, eighths):
    """All at once: it gets pages down to its part of min, then nothing, without a stall."""

    async def main(machine):
        driver = machine.kernel_thread("driver", cpu=0)
        pages = await driver.alloc_pages(LARGE, f"{gfp} | __GFP_NOWARN")
        zone = machine.zone(0, "DMA")
        floor = zone.min - zone.min // 2
        floor = floor - floor // 4 if eighths == 3 else zone.min
        assert zone.free <= floor < zone.free + 8  # a refill of the CPU's list may go beyond it
        assert len(pages) > 2000
        assert (machine.mem.pages.flags[pages] == PG_kernel).all()
        stalls = machine.mem.vm_event[ALLOCSTALL_DMA : ALLOCSTALL_DMA + 4].sum()
        await driver.free_pages(pages)
        return int(stalls), machine.dmesg.count("page allocation failure")

    assert kernel_run(main).result == (0, 0)


@pytest.mark.mission("V9")
def test_what_may_wait_gets_all_it_asks_for():
    """GFP_KERNEL reclaims what a process has, and comes back with every page."""

    async def main(machine):
        hog = await machine.spawn("hog", cpu=1)
        await hog.touch(await hog.mmap(2500 * PAGE), write=True)
        driver = machine.kernel_thread("driver", cpu=0)
        first = await driver.alloc_pages(LARGE, "GFP_NOWAIT | __GFP_NOWARN")
        began_ns = machine.now_ns
        pages = await driver.alloc_pages(64)
        assert machine.now_ns - began_ns > 1_000_000
        assert len(pages) == 64
        await driver.free_pages(first)
        await driver.free_pages(pages)
        return hog.stats.swap_pages >= 64

    assert kernel_run(main).result


@pytest.mark.mission("V9")
def test_an_interrupt_drops_what_it_finds_no_page_for():
    """The log has one warning in ten seconds, of the task that was interrupted."""

    async def main(machine):
        driver = machine.kernel_thread("driver", cpu=0)
        card = machine.net_device("eth0", cpu=1)
        pages = await driver.alloc_pages(LARGE, "GFP_ATOMIC | __GFP_NOWARN")
        got = await card.receive(20, every="10us")
        kept = card.stats
        assert kept == got == NetStatistics(0, 20, got.alloc_ns_max)
        await driver.free_pages(pages)
        again = await card.receive(20, every="10us")
        assert again == NetStatistics(20, 0, again.alloc_ns_max)
        longest_ns = max(got.alloc_ns_max, again.alloc_ns_max)
        assert card.stats == NetStatistics(20, 20, longest_ns)
        await card.receive(0, every="10us")
        assert card.stats == NetStatistics(20, 20, longest_ns)
        assert kept == got
        assert (await card.consume(5), await card.consume()) == (5, 15)
        return machine.dmesg

    log = kernel_run(main).result
    failures = [line for line in log.splitlines() if "page allocation failure" in line]
    assert len(failures) == 1
    assert failures[0].endswith(
        "swapper/1: page allocation failure: order:0, mode:0xa20(GFP_ATOMIC), "
        "nodemask=(null),cpuset=/,mems_allowed=0"
    )
    assert log.count("Mem-Info:") == 1


def test_interrupts_take_the_time_of_what_runs():
    """A task that computes beside 50 interrupts of its CPU takes a microsecond longer for each."""

    async def main(machine, *, packets):
        card = machine.net_device("eth0", cpu=0)
        took = []

        async def program(process):
            area = await process.mmap(16 * PAGE)
            await process.touch(area, write=True)
            took.append((await process.touch(area, passes=1_000)).latency_ns)

        hog = await machine.spawn("hog", program, cpu=0)
        await card.receive(packets, every="10us")
        await hog.wait()
        await card.consume()
        return took[0]

    quiet, noisy = (
        kernel_run(partial(main, packets=packets), sound=False).result for packets in (0, 50)
    )
    assert 50_000 <= noisy - quiet <= 70_000


def test_it_is_told_whom_an_interrupt_interrupts():
    """A process by name and number, a kernel thread by name, an idle CPU."""
    assert running("my-hog-123", 0) == ("my-hog", 123)
    assert running("kswapd0", 0) == ("kswapd0", 0)
    assert running(None, 3) == ("swapper/3", 0)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda m: m.kernel_thread("t").alloc_pages(1, "GFP_USELESS"), "gfp"),
        (lambda m: m.kernel_thread("t").alloc_pages(-1), "nr"),
        (lambda m: m.kernel_thread("t").free_pages([1]), "free_pages"),
        (lambda m: m.net_device("eth0").receive(-1, every="1us"), "packets"),
        (lambda m: m.net_device("eth0").consume("x"), "packets"),
        (lambda m: m.net_device("cpu0"), "net_device"),
        (lambda m: m.net_device("kernel_space"), "net_device"),
        (lambda m: m.net_device("eth0", cpu=9), "cpu"),
        (lambda m: m.kernel_thread("t", cpu=9), "cpu"),
    ],
)
def test_mistakes_are_named(call, told):
    """One line with the argument and the rule."""

    async def main(machine):
        with pytest.raises((ConfigError, WorkloadError), match=told):
            await call(machine)

    kernel_run(main, sound=False)
