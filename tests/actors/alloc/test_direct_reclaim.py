"""Tests of direct reclaim: what it does for the task that asks, and how it is held back."""

from kernelsim.actors.alloc.direct_reclaim import try_to_free_pages
from kernelsim.actors.core.current import Current
from kernelsim.mm.core.mem import SWAP_CLUSTER_MAX, Z_FREE, Z_WMARK_MIN
from kernelsim.mm.core.vmstat import PGSCAN_DIRECT, PGSTEAL_DIRECT, PSWPOUT
from kernelsim.mm.page.gfp import GFP_HIGHUSER_MOVABLE
from kernelsim.mm.reclaim.throttle_reason import PFMEMALLOC_WAIT
from tests.small_machine import PAGE, available, run, small_machine

NO_BOOST = {"vm.watermark_boost_factor": 0}
BEGIN, END = "mm_vmscan_direct_reclaim_begin", "mm_vmscan_direct_reclaim_end"


def with_pages(scenario, nr_pages=2000, **options):
    """Run `scenario(machine, process, reclaim)`; `reclaim()` lets its task reclaim once."""

    async def main(machine):
        kernel = machine.kernel
        process = await machine.spawn("p", cpu=0)
        await process.touch(await process.mmap(nr_pages * PAGE), write=True)
        task = process._process.task

        async def reclaim():
            await task.get_cpu()
            nr = await try_to_free_pages(
                Current(kernel, task), GFP_HIGHUSER_MOVABLE, kernel.phys.zonelists[0]
            )
            await task.put_cpu()
            return nr

        return await scenario(machine, process, reclaim)

    return run(small_machine(**{"swap": "64M", "sysctl": NO_BOOST, **options}), main)


def test_it_frees_at_least_a_batch_or_has_tried_everything():
    """What it says it reclaimed is what came back, and is counted as its own."""

    async def scenario(machine, process, reclaim):
        total = 0
        for _ in range(20):
            free = available(machine)
            stolen = int(machine.mem.vm_event[PGSTEAL_DIRECT])
            nr = await reclaim()
            assert machine.mem.vm_event[PGSTEAL_DIRECT] - stolen == nr
            assert available(machine) - free == nr
            total += nr
        assert total >= SWAP_CLUSTER_MAX
        assert machine.mem.vm_event[PSWPOUT] >= total
        assert process.stats.swap_pages >= total

    done = with_pages(scenario)
    begins, ends = done.log.named(BEGIN), done.log.named(END)
    assert len(begins) == len(ends) == 20
    assert sum(event.fields["nr_reclaimed"] for event in ends) >= SWAP_CLUSTER_MAX


def test_without_swap_it_frees_nothing_and_comes_back():
    """Anonymous pages without swap are not even scanned."""

    async def scenario(machine, process, reclaim):
        assert await reclaim() == 0
        assert machine.mem.vm_event[PGSCAN_DIRECT] == 0

    with_pages(scenario, swap=None)


class Witness:
    """A sink that notes, at each step over a list, whether a task may use the reserves."""

    def __init__(self, task):
        self.task = task
        self.seen = []

    def wants(self, actor, event):
        """Look at the steps of reclaim only."""
        return event.startswith("mm_vmscan_lru")

    def emit(self, t_ns, actor, event, fields):
        """Note one step."""
        self.seen.append((actor, self.task.memalloc))

    def flush(self):
        """Do nothing."""


def test_the_reserves_are_its_own_while_it_reclaims():
    """PF_MEMALLOC is set during reclaim and no longer."""

    async def scenario(machine, process, reclaim):
        task = process._process.task
        machine.engine.sink = witness = Witness(task)
        await reclaim()
        assert set(witness.seen) == {(task.name, True)}
        assert not task.memalloc

    with_pages(scenario)


def test_its_work_takes_cpu_time_of_the_task():
    """Scanning is charged to it, not to kswapd."""

    async def scenario(machine, process, reclaim):
        before = process.stats.stime_ns
        kswapd_ns = machine.engine.actors["kswapd0"]._task.stime_ns
        await reclaim()
        scanned = int(machine.mem.vm_event[PGSCAN_DIRECT])
        assert scanned > 0
        scan_ns = scanned * machine.spec.latency.scan_page_ns
        assert process.stats.stime_ns - before >= scan_ns
        assert machine.engine.actors["kswapd0"]._task.stime_ns == kswapd_ns

    with_pages(scenario)


def test_when_the_reserves_run_out_tasks_wait_for_kswapd_and_are_woken():
    """Below half of min, boost included, nobody may reclaim; in the end nobody waits for ever."""

    async def main(machine):
        process = await machine.spawn("p")
        region = await process.mmap("24M")
        await process.touch(region, write=True, passes=2)
        return machine.kernel.throttle_queue(0, PFMEMALLOC_WAIT).nr_waiting

    done = run(small_machine(cpus=("0-1",), swap="32M"), main)
    assert done.result == 0
    assert done.vm_events["pgscan_direct_throttle"] > 0
    slept = [each.fields for each in done.log.named("ks_sleep")]
    waits_ns = [each["wait_ns"] for each in slept if each["why"] == "pfmemalloc"]
    assert len(waits_ns) == done.vm_events["pgscan_direct_throttle"]
    assert min(waits_ns) > 0


def test_a_throttled_task_that_is_killed_goes_on_to_die():
    """It neither reclaims nor waits for kswapd any longer."""

    async def main(machine):
        zone = machine.mem.zone[0]
        queue = machine.kernel.throttle_queue(0, PFMEMALLOC_WAIT)
        process = await machine.spawn("p", cpu=0)
        region = await process.mmap("3M")
        await process.touch(region, write=True, length="1M")

        async def killer(_handle):
            while not queue.nr_waiting:
                await machine.sleep("1us")
            await process.kill()
            queue.wake_all()
            return machine.now_ns

        killing = await machine.spawn("killer", killer, cpu=1)
        taken = int(zone[Z_FREE] - zone[Z_WMARK_MIN] // 4)
        zone[Z_FREE] -= taken  # as if somebody had them who never gives them back
        result = await process.touch(region, write=True)
        assert machine.now_ns - killing.result < 100_000
        zone[Z_FREE] += taken
        return result.signal, process.exit_status

    spec = small_machine(cpus=("0-1",), swap="64K", sysctl=NO_BOOST)
    done = run(spec, main, sound=False)  # the test itself takes pages away
    assert done.result == (9, -9)
    assert done.log.named(BEGIN) == []


def test_pages_that_hide_in_the_list_of_the_cpu_are_found_before_anybody_is_killed():
    """What lies there is not free as watermarks see it; it is drained when reclaim was no help."""

    async def main(machine):
        zone = machine.mem.zone[0]
        process = await machine.spawn("p", cpu=0)
        region = await process.mmap(100 * PAGE)
        await process.touch(region, write=True)
        await process.madvise_dontneed(region)
        hidden = int(machine.mem.pcp_count[0, 0])
        assert hidden > 50
        taken = int(zone[Z_FREE] - zone[Z_WMARK_MIN] + hidden // 2)
        zone[Z_FREE] -= taken  # as if somebody had them
        result = await process.touch(region, write=True, length=PAGE)
        zone[Z_FREE] += taken
        return result.minflt, result.signal, int(machine.mem.pcp_count[0, 0])

    done = run(small_machine(sysctl=NO_BOOST), main, sound=False)  # the test takes pages away
    assert done.result == (1, 0, 0)


def test_the_cpus_of_a_process_forget_pages_that_another_cpu_reclaims():
    """By interrupt, once a batch, before a page is written or freed."""

    async def main(machine):
        process = await machine.spawn("p", cpu=0)
        await process.touch(await process.mmap("18M"), write=True)
        await machine.sleep("1s")
        assert machine.engine.actors["kswapd0"]._task.cpu is machine.kernel.cpus[1]
        return machine.kernel.cpus[0].state.nr_ipis

    done = run(small_machine(cpus=("0-1",), swap="64M", sysctl=NO_BOOST), main)
    assert 0 < done.result <= done.vm_events["pswpout"]
