"""fork, clone(CLONE_VM) and wait on whole machines: who sees which page, and what is left."""

import errno
import signal

import pytest

from kernelsim.actors.core.signal import SIGKILL, send_signal
from kernelsim.actors.process.calls import forking
from kernelsim.actors.process.calls.access import Touch
from kernelsim.actors.process.calls.forking import Fork, Wait4, Waited
from kernelsim.actors.process.calls.life import Exit, Sigaction
from kernelsim.check.machine import check_machine
from kernelsim.errors import ProcessEndedError, SyscallError
from kernelsim.mm.space.pgtable import pte_at, pte_pfn
from tests.small_machine import PAGE, run, small_machine

pytestmark = pytest.mark.mission("V11")
MEMORY = {"memory": "32M"}


async def parent_and_child(machine, *, shares_vm=False):
    """Return a parent that wrote eight pages, its child, and the first of these pages."""
    handle = await machine.spawn("p")
    region = await handle.mmap(8 * PAGE)
    await handle.touch(region, write=True)
    parent = machine.kernel.processes[handle.pid]
    pid = await parent.ref.ask(Fork(shares_vm))
    return parent, parent.children[pid], region.address


def frames(machine, process, address):
    """Return the frames of the eight pages."""
    space, number = machine.kernel.space, process.mm.number
    return [pte_pfn(pte_at(*space, number, (address >> 12) + n)) for n in range(8)]


def test_pages_are_shared_until_one_side_writes():
    """The writer gets a copy by one fault a page; the last owner keeps its page, by one more."""

    async def main(machine):
        parent, child, address = await parent_and_child(machine)
        same = frames(machine, parent, address) == frames(machine, child, address)
        read = await child.ref.ask(Touch(address, 8 * PAGE, write=False))
        written = await child.ref.ask(Touch(address, 2 * PAGE, write=True))
        apart = [
            one != other
            for one, other in zip(
                frames(machine, parent, address), frames(machine, child, address), strict=True
            )
        ]
        again = await parent.ref.ask(Touch(address, 8 * PAGE, write=True))
        return same, read.minflt, written.minflt, apart, again.minflt

    assert run(small_machine(**MEMORY), main).result == (True, 0, 2, [True] * 2 + [False] * 6, 8)


@pytest.mark.parametrize("child_first", [True, False])
def test_memory_is_free_whoever_ends_first(child_first):
    """Nothing stays when both have ended."""

    async def main(machine):
        await machine.spawn("other")
        before = machine.vmstat["nr_anon_pages"], machine.vmstat["nr_page_table_pages"]
        parent, child, address = await parent_and_child(machine)
        await child.ref.ask(Touch(address, PAGE, write=True))
        for process in (child, parent) if child_first else (parent, child):
            await process.ref.ask(Exit(0))
        return before == (machine.vmstat["nr_anon_pages"], machine.vmstat["nr_page_table_pages"])

    assert run(small_machine(**MEMORY), main).result


def test_one_address_space_for_two():
    """CLONE_VM: what one writes the other has, without a fault; it lives until both have ended."""

    async def main(machine):
        parent, child, address = await parent_and_child(machine, shares_vm=True)
        result = await child.ref.ask(Touch(address, 8 * PAGE, write=True))
        await child.ref.ask(Exit(0))
        after = await parent.ref.ask(Touch(address, 8 * PAGE, write=True))
        return result.minflt, after.minflt, parent.mm is child.mm, parent.mm.mm_users

    assert run(small_machine(**MEMORY), main).result == (0, 0, True, 1)


def test_shared_memory_is_seen_by_both_and_goes_with_the_last():
    """The child faults on pages that are there, sees what the parent stored, and the reverse."""

    async def main(machine):
        handle = await machine.spawn("p")
        region = await handle.mmap(8 * PAGE, shared=True)
        await handle.touch(region, length=4 * PAGE, write=True)
        parent = machine.kernel.processes[handle.pid]
        child = parent.children[await parent.ref.ask(Fork())]
        mapped = await child.ref.ask(Touch(region.address, 4 * PAGE, write=False))
        await child.ref.ask(Touch(region.address + 4 * PAGE, PAGE, write=True))
        again = await handle.touch(region, length=5 * PAGE)
        same = frames(machine, parent, region.address)[:5]
        assert same == frames(machine, child, region.address)[:5]
        assert check_machine(machine.kernel) == []
        for process in (parent, child):
            await process.ref.ask(Exit(0))
        return mapped.minflt, again.minflt, machine.kernel.mms.commit.committed_pages

    assert run(small_machine(**MEMORY), main).result == (1, 1, 0)


def test_a_parent_waits_for_its_child():
    """It hears the status once; a stranger's pid is ECHILD."""

    async def main(machine):
        parent, child, _ = await parent_and_child(machine)
        await child.ref.ask(Exit(7))
        return [await parent.ref.ask(Wait4(child.pid)) for _ in range(2)]

    assert run(small_machine(**MEMORY), main).result == [Waited(7), -errno.ECHILD]


def test_a_signal_with_the_number_of_an_errno_is_a_status():
    """SIGUSR1 is 10, as ECHILD is."""

    async def main(machine):
        parent = await machine.spawn("p")
        child = await parent.fork()
        await child.kill(int(signal.SIGUSR1))
        assert await parent.waitpid(child) == -signal.SIGUSR1 == -errno.ECHILD
        with pytest.raises(SyscallError, match="No child"):
            await parent.waitpid(child)

    run(small_machine(**MEMORY), main)


def test_a_parent_that_is_killed_hears_nothing_of_its_child():
    """Its wait ends with it, and is not answered by a status."""

    async def main(machine):
        parent = await machine.spawn("p")
        child = await parent.fork()

        async def killer(other):
            await other.sleep("1ms")
            await parent.kill()

        await machine.spawn("killer", killer)
        with pytest.raises(ProcessEndedError):
            await parent.waitpid(child)
        return machine.now_ns // 10**6, child.exit_status

    assert run(small_machine(**MEMORY), main).result == (1, None)


@pytest.mark.parametrize("shares_vm", [False, True])
def test_a_fork_of_one_that_is_killed_meanwhile_leaves_nothing(monkeypatch, shares_vm):
    """It makes no child, and its program does not hear of an error."""

    async def main(machine):
        parent = await machine.spawn("p")
        await parent.touch(await parent.mmap("1M"), write=True)
        entry = machine.kernel.processes[parent.pid]
        name = "share_mm" if shares_vm else "dup_mm"
        makes = getattr(forking, name)

        def killed(*arguments):
            send_signal(machine.kernel, entry, SIGKILL)
            return makes(*arguments)

        monkeypatch.setattr(forking, name, killed)
        with pytest.raises(ProcessEndedError):
            await parent.fork(shares_vm=shares_vm)
        kernel = machine.kernel
        return kernel.processes, kernel.mms.by_number, kernel.mms.commit.committed_pages

    assert run(small_machine(**MEMORY), main).result == ({}, {}, 0)


def test_a_child_of_one_that_is_killed_right_then_runs_its_program():
    """It stands in the table as soon as there is it, for the OOM killer and for /proc."""

    async def main(machine):
        parent = await machine.spawn("p")
        kernel, entry = machine.kernel, machine.kernel.processes[parent.pid]
        start = kernel.start_process

        def start_and_kill(child):
            start(child)
            send_signal(kernel, entry, SIGKILL)

        kernel.start_process = start_and_kill
        child = await parent.fork(lambda child: child.sleep("1ms"))
        return child.proc("stat").split()[3], parent.exit_status, await child.wait()

    assert run(small_machine(**MEMORY), main).result == ("1", -SIGKILL, 0)


def test_a_child_that_is_killed_before_its_parent_hears_of_it():
    """Its handle says how it ended, and its program does not begin."""

    async def main(machine):
        parent = await machine.spawn("p")
        kernel, task = machine.kernel, machine.kernel.processes[parent.pid].task
        start, leave = kernel.start_process, task.put_cpu

        def start_and_kill(child):
            start(child)
            send_signal(kernel, child, SIGKILL)

        async def late(**how):
            await leave(**how)
            await machine.engine.sleep(10**6)

        kernel.start_process, task.put_cpu = start_and_kill, late
        child = await parent.fork(lambda child: child.touch(None))
        assert kernel.processes.keys() == {parent.pid}
        return child.exit_status, await parent.waitpid(child)

    assert run(small_machine(**MEMORY), main).result == (-SIGKILL, -SIGKILL)


def test_a_child_is_in_the_process_table_before_it_has_a_cpu():
    """Its only CPU is its parent's, who goes on; what counts processes sees both."""

    async def main(machine):
        parent = await machine.spawn("p", cpu=0)
        entry = machine.kernel.processes[parent.pid]
        pid = await entry.ref.ask(Fork())
        return pid in machine.kernel.processes, "State:\tR" in machine.proc(f"{pid}/status")

    assert run(small_machine(**MEMORY), main).result == (True, True)


def test_vfork_lends_the_memory_until_exec():
    """The parent does nothing until the child runs its own program; its memory is as it was."""

    async def main(machine):
        parent = await machine.spawn("p")
        region = await parent.mmap(8 * PAGE)
        await parent.touch(region, length=PAGE, write=True)
        began_ns = machine.now_ns

        async def start(child):
            await child.touch(region, write=True)
            await child.sleep("2ms")
            await child.exec("other")
            await child.sleep("5ms")

        child = await parent.vfork(start)
        waited_ns = machine.now_ns - began_ns
        again = await parent.touch(region, write=True)
        assert 2_000_000 <= waited_ns < 3_000_000
        assert (child.name, again.minflt) == ("other", 0)
        assert parent.writer_of(region.address) == parent.pid
        assert check_machine(machine.kernel) == []
        return await parent.waitpid(child)

    assert run(small_machine(**MEMORY), main).result == 0


def test_vfork_ends_with_its_child():
    """A child that ends gives the memory back."""

    async def main(machine):
        parent = await machine.spawn("p")
        child = await parent.vfork(lambda child: child.sleep("1ms"))
        assert machine.now_ns >= 10**6
        return await parent.waitpid(child)

    assert run(small_machine(**MEMORY), main).result == 0


def test_a_signal_ends_the_wait_of_vfork():
    """A parent that is killed does not wait for its child, which keeps the memory and goes on."""

    async def main(machine):
        async def lender(parent):
            await parent.vfork(lambda child: child.sleep("10ms"))

        parent = await machine.spawn("p", lender)
        await machine.sleep("1ms")
        entry = machine.kernel.processes[parent.pid]
        [borrower] = entry.children.values()
        assert entry.vfork_child is borrower
        await parent.kill(SIGKILL)
        killed, at_ms = await parent.wait(), machine.now_ns // 10**6
        assert borrower.exit_status is None
        assert len(machine.kernel.mms.by_number) == 1
        await machine.sleep("20ms")
        return killed, at_ms, borrower.exit_status, machine.kernel.mms.by_number

    assert run(small_machine(**MEMORY), main).result == (-SIGKILL, 1, 0, {})


def test_a_zombie_stays_until_its_parent_hears_and_an_orphan_goes_at_once():
    """/proc shows who is whose child, and what is left of one that has ended."""

    async def main(machine):
        parent = await machine.spawn("p")
        first, second = await parent.fork(), await parent.fork()
        grandchild = await first.fork()
        seen = [line_of(machine, grandchild, "PPid")]
        await first.exit(3)
        seen += [line_of(machine, first, "State"), line_of(machine, grandchild, "PPid")]
        assert (await parent.waitpid(first), machine.kernel.zombies) == (3, {})
        with pytest.raises(SyscallError, match="No child"):
            await parent.waitpid(first)
        await second.exit(4)
        assert "VmRSS" not in machine.proc(f"{second.pid}/status")
        for name in ("maps", "smaps"):
            assert (machine.proc(f"{second.pid}/{name}"), second.proc(name)) == ("", "")
        stat = second.proc("stat").split()
        assert (stat[2], stat[22], stat[23], stat[-1]) == ("Z", "0", "0", str(4 << 8))
        assert "\nvoluntary_ctxt_switches:\t0\n" not in second.proc("status")
        await parent.exit()
        await grandchild.exit()
        assert machine.kernel.zombies == {}
        return seen

    result = run(small_machine(**MEMORY), main).result
    assert result == ["PPid:\t101", "State:\tZ (zombie)", "PPid:\t1"]


def line_of(machine, process, key):
    """Return a line of a process's status."""
    lines = machine.proc(f"{process.pid}/status").splitlines()
    return next(line for line in lines if line.startswith(f"{key}:"))


def test_a_caught_fault_ends_the_access_and_not_the_process():
    """SIGSEGV is told with its address and why."""

    async def main(machine):
        handle = await machine.spawn("p")
        process = machine.kernel.processes[handle.pid]
        await process.ref.ask(Sigaction())
        result = await process.ref.ask(Touch(0x4000, PAGE, write=True))
        return (result.fault.signal, result.fault.code, result.fault.address), handle.exit_status

    assert run(small_machine(**MEMORY), main).result == ((11, 1, 0x4000), None)
