"""mmap_lock: readers together, a writer alone, nobody overtakes; and tasks that race for pages."""

import pytest

from kernelsim.actors.core.mmap_lock import MmapLock
from kernelsim.check.machine import check_machine
from tests.small_machine import PAGE, run, small_machine

pytestmark = pytest.mark.mission("V11")
TWO_CPUS = {"cpus": ("0-3",), "memory": "32M"}
NR_PAGES = 40


def test_readers_share_it_and_a_writer_waits_its_turn():
    """Readers that come after a waiting writer come in after it."""

    async def main(machine):
        lock, entered = MmapLock(machine.engine, 1), []

        def holder(name, delay_us, *, write):
            async def program(process):
                task = machine.kernel.processes[process.pid].task
                await process.sleep(delay_us * 1000)
                await task.get_cpu()
                async with lock.held(task, write=write):
                    assert lock.is_held_by(task)
                    entered.append((name, machine.now_ns // 100_000))
                    await task.compute(300_000)
                await task.put_cpu()

            return program

        plan = (("r1", 0, False), ("r2", 100, False), ("w", 200, True), ("r3", 250, False))
        handles = [
            await machine.spawn(name, holder(name, delay_us, write=write), cpu=number)
            for number, (name, delay_us, write) in enumerate(plan)
        ]
        for handle in handles:
            await handle.wait()
        return entered, machine.locks["mmap_lock"].nr_waits

    entered, nr_waits = run(small_machine(**TWO_CPUS), main).result
    assert [name for name, _ in entered] == ["r1", "r2", "w", "r3"]
    assert [at for _, at in entered] == [0, 1, 4, 7]
    assert nr_waits == 2


@pytest.mark.parametrize("kind", ["memory", "zero pages first", "a private file", "a shared file"])
def test_tasks_that_fault_on_the_same_pages_at_once(kind):
    """Each page is there once, and the frames of those that were slower are free again."""

    async def main(machine):
        process = await machine.spawn("p")
        how = {}
        if "file" in kind:
            how = {"fd": await process.open("/f"), "shared": kind == "a shared file"}
        region = await process.mmap(NR_PAGES * PAGE, **how)
        reads = kind == "zero pages first"

        def racer(number):
            async def program(thread):
                await thread.set_affinity(number)
                await thread.sleep(50_000 + number * 10)
                if reads:
                    await thread.touch(region)
                await thread.touch(region, write=True)

            return program

        threads = [await process.fork(racer(number), shares_vm=True) for number in range(3)]
        for thread in threads:
            assert await process.waitpid(thread) == 0
        assert check_machine(machine.kernel) == []
        faults = [thread.stats.pgfault for thread in threads]
        return faults, process.stats.rss_pages, (await process.touch(region, write=True)).minflt

    spec = small_machine(**TWO_CPUS, files={"/f": f"{NR_PAGES * PAGE}"})
    faults, rss, again = run(spec, main).result
    assert (rss, again) == (NR_PAGES, 0)
    assert sum(faults) > NR_PAGES  # they met


def test_a_mapping_that_goes_while_others_fault_on_it_ends_them():
    """Munmap waits for faults under way; who comes later gets SIGSEGV; what is freed is free."""

    async def main(machine):
        process = await machine.spawn("p")
        region = await process.mmap(NR_PAGES * PAGE)

        async def program(thread):
            await thread.set_affinity(1)
            await thread.touch(region, write=True)

        thread = await process.fork(program, shares_vm=True)
        await process.sleep(5_000)
        await process.munmap(region)
        status = await process.waitpid(thread)
        assert check_machine(machine.kernel) == []
        return status, process.stats.rss_pages

    assert run(small_machine(**TWO_CPUS), main).result == (-11, 0)


def test_tasks_share_memory_that_does_not_fit():
    """Both fault on what is on its way to swap or back; nothing is lost or taken twice."""

    async def main(machine):
        process = await machine.spawn("p")
        region = await process.mmap("14M")

        async def program(thread):
            await thread.touch(region, write=True, passes=2)

        threads = [await process.fork(program, shares_vm=True) for _ in range(2)]
        for thread in threads:
            assert await process.waitpid(thread) == 0
        return machine.vmstat["pswpin"] > 0

    assert run(small_machine(cpus=("0-1",), memory="16M", swap="64M"), main).result


async def waiters(machine, plan, lock, entered):
    """Have processes take a lock: by name when, how, and whether a signal ends the wait."""

    def holder(name, delay_us, *, write):
        async def program(process):
            task = machine.kernel.processes[process.pid].task
            await process.sleep(delay_us * 1000)
            await task.get_cpu()
            async with lock.held(task, write=write, killable=True) as is_held:
                if is_held:
                    entered.append((name, machine.now_ns // 100_000))
                    await task.compute(300_000)
            await task.put_cpu()

        return program

    return [
        await machine.spawn(name, holder(name, delay_us, write=write), cpu=number)
        for number, (name, delay_us, write) in enumerate(plan)
    ]


def test_all_readers_come_in_with_the_first():
    """Behind a writer that leaves, past the writer between them."""

    async def main(machine):
        lock, entered = MmapLock(machine.engine, 1), []
        plan = (("w1", 0, True), ("r1", 50, False), ("w2", 100, True), ("r2", 150, False))
        for handle in await waiters(machine, plan, lock, entered):
            await handle.wait()
        return entered

    entered = run(small_machine(**TWO_CPUS), main).result
    assert entered == [("w1", 0), ("r1", 3), ("r2", 3), ("w2", 6)]


def test_a_writer_that_is_killed_waits_no_longer_and_lets_others_pass():
    """It never has the lock; a reader that stood behind it comes in at once."""

    async def main(machine):
        lock, entered = MmapLock(machine.engine, 1), []
        plan = (("r1", 0, False), ("w", 50, True), ("r2", 100, False))
        handles = await waiters(machine, plan, lock, entered)
        writer = machine.kernel.processes[handles[1].pid]
        machine.kernel.mmap_locks[writer.mm.number] = lock
        await machine.sleep("200us")
        await handles[1].kill()
        for handle in handles:
            await handle.wait()
        return entered

    assert run(small_machine(**TWO_CPUS), main).result == [("r1", 0), ("r2", 2)]


async def lock_for(machine, program):
    """Have a thread do something for which another one's reading lock must be waited for or not.

    Returns:
        Whether it was done while the lock was held.
    """
    process = await machine.spawn("p", cpu=0)
    region = await process.mmap(8 * PAGE)
    await process.touch(region, write=True)
    thread = await process.fork(lambda each: program(each, region), shares_vm=True)
    task = machine.kernel.processes[process.pid].task
    lock = machine.kernel.mmap_locks[machine.kernel.processes[process.pid].mm.number]
    await task.get_cpu()
    async with lock.held(task, write=False):
        await task.compute(5_000_000)
        is_done = thread.exit_status is not None
    await task.put_cpu()
    assert await thread.wait() == 0
    return is_done


@pytest.mark.parametrize(
    ("name", "arguments", "is_reader"),
    [
        ("madvise", ("dontneed",), True),
        ("madvise", ("free",), True),
        ("madvise", ("pageout",), True),
        ("madvise", ("dontfork",), False),
        ("msync", (), True),
        ("mlock", (), False),
        ("mbind", ("default",), False),
        ("munmap", (), False),
    ],
)
def test_calls_that_only_look_at_mappings_are_readers(name, arguments, is_reader):
    """They go on beside another reader; those that change mappings wait for it."""

    async def main(machine):
        async def program(thread, region):
            await thread.set_affinity(1)
            await thread.syscall(name, region, *arguments)

        return await lock_for(machine, program)

    assert run(small_machine(**TWO_CPUS), main).result == is_reader


@pytest.mark.parametrize(
    ("name", "arguments"), [("migrate_pages", (0, 0)), ("move_pages", ([0x40_0000],))]
)
@pytest.mark.parametrize("holds_target", [True, False])
def test_pages_of_another_process_move_under_its_lock(name, arguments, holds_target):
    """Who moves them waits for a writer there, and not for one of its own memory."""

    async def main(machine):
        kernel, both = machine.kernel, []
        for number in range(2):
            process = await machine.spawn("p", cpu=number)
            await process.fork(shares_vm=True)
            both.append(process)
        mover, target = both
        held = kernel.processes[(target if holds_target else mover).pid]
        lock, task = kernel.mmap_locks[held.mm.number], held.children[held.pid + 1].task
        task.cpus = (kernel.cpus[2],)

        async def program(_):
            await mover.syscall(name, target.pid, *arguments)

        await task.get_cpu()
        async with lock.held(task, write=True):
            asker = await machine.spawn("asker", program, cpu=3)
            await task.compute(5_000_000)
            was_done = asker.exit_status is not None
        await task.put_cpu()
        await asker.wait()
        return was_done

    assert run(small_machine(**TWO_CPUS), main).result == (not holds_target)
