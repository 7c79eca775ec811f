"""The pool of pdflush threads, and writers that write for themselves."""

import pytest

from kernelsim.actors.core.kernel import wakeup_flusher_threads
from kernelsim.actors.core.pdflush_pool import Job, PdflushPool
from kernelsim.config.machine_file import machine_from_toml
from kernelsim.fs.fs_writeback import WbReason
from tests.small_machine import PAGE, run

MIB = 1 << 20


def old_machine(files=(), **device):
    """A machine of the classic era with three disks."""
    return machine_from_toml(
        {
            "name": "old",
            "era": "classic",
            "node": [{"cpus": "0-1", "memory": "64M"}],
            "device": [
                {"name": name, "write_latency": "1ms", **device} for name in ("vda", "vdb", "vdc")
            ],
            "files": list(files),
        }
    )


async def written(process, nr_bytes):
    """Write a file of the process's own."""
    fd = await process.open(f"/{process.name}", create=True)
    for _ in range(nr_bytes // 65536):
        await process.write(fd, 65536)
    return fd


def threads_of(done):
    """Return how many threads there were, at each birth and end."""
    return [
        point.fields["nr_threads"]
        for name in ("ks_pdflush_start", "ks_pdflush_stop")
        for point in done.log.named(name)
    ]


def test_old_pages_are_written_after_thirty_seconds():
    """A few dirty pages: nobody writes them before dirty_expire_centisecs are over."""

    async def main(machine):
        process = await machine.spawn("p")
        await written(process, 128 * 1024)
        await machine.sleep("25s")
        before = machine.vmstat["nr_dirty"]
        await machine.sleep("11s")
        return before, machine.vmstat["nr_dirty"], machine.vmstat["nr_written"]

    assert run(old_machine(), main).result == (32, 0, 32)


def test_a_page_that_gets_dirty_while_all_others_are_on_their_way_is_written():
    """When the timer comes nothing is dirty, though files are still being written."""

    async def main(machine):
        process = await machine.spawn("p")
        fd = await written(process, MIB)
        await process.syscall("sync_file_range", fd, length=MIB)
        await machine.sleep("5500ms")
        before = machine.vmstat["nr_dirty"], machine.vmstat["nr_writeback"] > 0
        other = await machine.spawn("q")
        await other.write(await other.open("/q", create=True), PAGE)
        await machine.sleep("60s")
        return before, machine.vmstat["nr_dirty"]

    assert run(old_machine(bandwidth="100K"), main).result == ((0, True), 0)


def test_a_writer_over_the_limit_writes_for_itself():
    """The disk's speed becomes the writer's; dirty pages stay near the limit."""

    async def main(machine):
        process = await machine.spawn("p")
        began_ns = machine.now_ns
        await written(process, 30 * MIB)
        vmstat = machine.vmstat
        most = vmstat["nr_dirty_threshold"]
        return machine.now_ns - began_ns, vmstat["nr_dirty"] + vmstat["nr_writeback"], most

    took_ns, dirty, most = run(old_machine(bandwidth="10M"), main).result
    assert dirty <= most + 32 * MIB // PAGE // 32
    assert took_ns > 10**9


def test_background_writeout_begins_at_the_background_limit():
    """Above a tenth pdflush writes, until it is below; nobody has to wait."""

    async def main(machine):
        machine.sysctl("vm.dirty_background_bytes", MIB)
        process = await machine.spawn("p")
        await written(process, 3 * MIB)
        await machine.sleep("2s")
        return machine.vmstat["nr_dirty"]

    assert run(old_machine(), main).result <= 256


def test_sync_and_fsync_write_in_the_callers_time():
    """Both work without a flusher."""

    async def main(machine):
        process = await machine.spawn("p")
        fd = await written(process, 128 * 1024)
        await process.fsync(fd)
        first = machine.vmstat["nr_written"]
        await process.write(fd, 65536)
        await process.syscall("sync")
        return first, machine.vmstat["nr_written"], machine.vmstat["nr_dirty"]

    assert run(old_machine(), main).result == (32, 48, 0)


def test_one_job_is_for_all_disks(monkeypatch):
    """Who wants all written asks once, for as many pages as are dirty."""
    asked = []
    monkeypatch.setattr(PdflushPool, "operation", lambda _, *job: asked.append(job) or True)

    async def main(machine):
        await written(await machine.spawn("p"), 128 * 1024)
        wakeup_flusher_threads(machine.kernel, WbReason.WB_REASON_SYNC)
        return list(asked)

    assert run(old_machine(), main).result == [(Job.BACKGROUND_WRITEOUT, 32)]


@pytest.mark.mission("A5")
def test_two_threads_are_enough_for_a_quiet_machine():
    """Threads are born only when both were busy for a second."""

    async def main(machine):
        process = await machine.spawn("p")
        await written(process, 128 * 1024)
        await machine.sleep("60s")

    assert threads_of(run(old_machine(), main)) == [2, 2]


def test_a_thread_born_later_has_a_stack_until_it_goes():
    """The first two have theirs from boot."""

    async def main(machine):
        pool = machine.kernel.pdflush
        seen = [machine.vmstat["nr_kernel_stack"]]
        pool.start()
        await machine.sleep("2s")
        seen.append(machine.vmstat["nr_kernel_stack"])
        pool.operation(Job.BACKGROUND_WRITEOUT)
        await machine.sleep("1ms")
        return [*seen, machine.vmstat["nr_kernel_stack"], machine.kernel.thread_stacks.in_use]

    assert run(old_machine(), main).result[:2] == [0, 8]


def test_a_run_ends_though_all_threads_are_busy(monkeypatch):
    """The timer of old pages would ask again every second, and nobody would ever be idle."""
    asked, operation = [], PdflushPool.operation

    def noted(pool, job, min_pages=0):
        if pool.engine.ended is not None:
            asked.append(job)
            assert len(asked) < 100, "for ever"
        return operation(pool, job, min_pages)

    monkeypatch.setattr(PdflushPool, "operation", noted)

    async def writer(process):
        fd = await process.open(f"/{process.name}/new", create=True)
        for number in range(1000):
            await process.write(fd, PAGE, offset=2 * number * PAGE)

    async def main(machine):
        machine.sysctl("vm.dirty_background_bytes", PAGE)
        for name in ("vda", "vdb", "vdc"):
            await machine.spawn(name, writer)
        pool = machine.kernel.pdflush
        while pool.threads.asleep_since or not pool.is_timed:
            await machine.sleep("10ms")

    files = [{"path": f"/{name}/old", "size": PAGE, "device": name} for name in ("vdb", "vdc")]
    run(old_machine(files, kind="hdd"), main)
    assert 1 <= len(asked) < 3
