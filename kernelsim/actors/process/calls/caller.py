"""The process that makes a call: what handlers work with, in its time.

Interface: a `Caller` a process, made by its actor; its methods are what the families share.
Units: bytes for addresses, pages where it says so.
"""

import errno

from kernelsim.actors.alloc.slab import settle_slabs
from kernelsim.actors.alloc.task_struct import exit_task, release_tasks, take_task_struct
from kernelsim.actors.core.current import Current
from kernelsim.actors.core.kernel import KERN_INFO, Kernel
from kernelsim.actors.core.process_table import ProcessEntry
from kernelsim.actors.core.shared_mm import mmap_lock
from kernelsim.actors.core.signal import SIGSEGV
from kernelsim.actors.core.task import Task
from kernelsim.actors.file.file_write import FileWriter
from kernelsim.actors.file.filemap import FileReader
from kernelsim.actors.space.accesses import Accesses
from kernelsim.actors.space.address_space import (
    free_address_space,
    load_program,
    mm_alloc,
    mmput,
    open_program,
)
from kernelsim.actors.space.fault_handler import FaultHandler
from kernelsim.actors.space.mlock import mlock_vma_pages_range
from kernelsim.actors.space.mmu_gather import free_tables, unmap_vmas
from kernelsim.actors.space.populate import mm_populate, populate_vma_page_range
from kernelsim.actors.space.shmem import shmem_evict
from kernelsim.actors.tracing import trace
from kernelsim.mm.space.address_layout import ADDRESS_LAYOUTS
from kernelsim.mm.space.binfmt_elf import ElfProgram
from kernelsim.mm.space.mlock import is_locked
from kernelsim.mm.space.mm_struct import MmStruct
from kernelsim.mm.space.mmap import VmArea, VmChange
from kernelsim.mm.space.signal_msg import general_protection_line, segfault_line
from kernelsim.mm.space.static_program import StaticProgram
from kernelsim.trace.ks import ks_process_exit, ks_process_start
from kernelsim.units import PAGE_SHIFT


class Caller:
    """A process, seen from the calls it makes.

    Args:
        kernel: The machine.
        entry: What the process table holds of it.

    Attributes:
        task: Its thread of control.
        current: That task on this machine, for kernel code to run in its time.
        mm: Its address space.
        nr_operations: Calls begun so far.
        accesses: Its loads and stores.
        reader: Reads files for it.
        writer: Writes files for it.
    """

    def __init__(self, kernel: Kernel, entry: ProcessEntry) -> None:
        self.kernel = kernel
        self.entry = entry
        self.task = entry.task
        self.current = Current(kernel, entry.task)
        self.mm: MmStruct
        self.nr_operations = 0
        self.accesses: Accesses
        self.reader: FileReader
        self.writer: FileWriter
        self._fault: FaultHandler

    @property
    def token(self) -> int:
        """What a store leaves in a page: the pid of the writer, and the number of its operation."""
        return self.task.pid << 32 | self.nr_operations

    async def start(self) -> None:
        """Get a CPU and a fault handler; one that was not forked gets an address space, too.

        Then that one enters the process table, where its parent has put one that was forked.

        A process whose image cannot be loaded is killed.

        Source: Linux 6.1 fs/exec.c:bprm_execve
        """
        kernel, entry, task = self.kernel, self.entry, self.task
        entry.start_ns = kernel.engine.now_ns
        await task.get_cpu()
        kernel.mms.this_nid = task.cpu.nid
        is_loaded = True
        if not entry.is_forked:
            await take_task_struct(self.current, is_kthread=False)
            mm = await mm_alloc(self.current)
            assert mm is not None, "nobody knows of it yet who could have killed it"
            files = await open_program(self.current, entry.program)
            loaded = load_program(self.current, mm, entry.program, files)
            entry.mm, entry.elf, is_loaded = mm, loaded.elf, loaded.is_loaded
            kernel.processes[entry.pid] = entry
            await settle_slabs(self.current)
        self.mm = entry.mm
        self._fault = FaultHandler(self.current, self.mm)
        kernel.engine.spawn(self._fault)
        self.accesses = Accesses(self.current, entry, self._fault)
        self.reader = FileReader(self.current)
        self.writer = FileWriter(self.current)
        trace(task, ks_process_start(entry.pid, 0, entry.comm, task.cpu.number))
        if not is_loaded:
            await self.exit(-SIGSEGV)
        await task.put_cpu()

    async def execve(self, comm: str, program: StaticProgram | ElfProgram) -> int:
        """Run a program in a fresh address space; the old one is let go before anything is mapped.

        Returns:
            0, or -ENOMEM or -EINTR if it was killed while the old program could still go on.
            Behind that point a process whose image cannot be loaded ends.

        Source: Linux 6.1 fs/exec.c:bprm_execve, :begin_new_exec, :exec_mmap
        """
        entry, old = self.entry, self.mm
        mm = await mm_alloc(self.current, old)
        if mm is None:
            return -errno.ENOMEM
        files = await open_program(self.current, program)
        async with mmap_lock(self.current, old, write=False, killable=True) as is_held:
            if not is_held:
                await mmput(self.current, mm)
                return -errno.EINTR
        entry.nr_execs += 1
        self.task.rss_stat.sync()
        entry.mm_release()
        self.mm = entry.mm = mm
        self._fault.exec_mmap(mm)
        await mmput(self.current, old)
        entry.comm, entry.program, entry.catches_faults = comm, program, False
        loaded = load_program(self.current, mm, program, files, entry.nr_execs)
        entry.elf = loaded.elf
        await settle_slabs(self.current)
        if not loaded.is_loaded:
            await self.exit(-(entry.group_exit_code or SIGSEGV))
        return 0

    async def wait_for_vfork_done(self) -> None:
        """Sleep while a child of vfork uses the address space; a fatal signal ends that.

        Source: Linux 6.1 kernel/fork.c:wait_for_vfork_done
        """
        entry = self.entry
        while entry.vfork_child is not None and not entry.must_die():
            await entry.signals.wait()
        child, entry.vfork_child = entry.vfork_child, None
        if child is not None:
            child.vfork_parent = None

    async def enter_kernel(self) -> None:
        """Spend the time of entering the kernel and leaving it."""
        await self.task.compute(self.kernel.spec.latency.syscall_entry_ns)
        self.kernel.mms.commit.this_cpu = self.task.cpu.number
        self.kernel.mms.this_nid = self.task.cpu.nid

    async def finish(self, change: VmChange) -> int:
        """Free the pages and tables that a change of mappings left behind; return its result."""
        if change.unmapped:
            self.task.rss_stat.sync()
        current, mm = self.current, self.mm
        for vma in change.unmapped:
            await self.unlock_pages(vma)
        if change.unmapped:
            await unmap_vmas(current, mm, change.unmapped)
            for vma in change.unmapped:
                mm.map.unlink_file(vma)
            floor_vpn, ceiling_vpn = change.floor >> PAGE_SHIFT, change.ceiling >> PAGE_SHIFT
            await free_tables(current, mm, floor_vpn, ceiling_vpn)
            await shmem_evict(current, change.unmapped)
        return change.result

    async def populate(self, start: int, end: int, *, ignore_errors: bool = True) -> int:
        """Bring in the pages of a range that are not there yet; return 0 or a negative errno."""
        return await mm_populate(
            self.accesses, self.current, self.mm, start, end, ignore_errors=ignore_errors
        )

    async def populate_piece(self, vma: VmArea, *, write: bool) -> int:
        """Bring in the pages of a piece of a mapping, as accesses would; return 0 or an errno."""
        return await populate_vma_page_range(self.accesses, self.current, self.mm, vma, write=write)

    async def unlock_pages(self, vma: VmArea) -> None:
        """Take their lock off the pages of a piece of a mapping, if it is locked."""
        if is_locked(vma):
            await mlock_vma_pages_range(self.current, self.mm, vma.start, vma.end, locks=False)

    def is_canonical(self, address: int) -> bool:
        """Tell whether the processor takes an address; if not, using it is #GP and no #PF."""
        return ADDRESS_LAYOUTS[self.kernel.spec.arch].paging.takes(address)

    async def segfault(self, address: int, *, write: bool) -> int:
        """End by SIGSEGV for touching an address, which the log says; return its number."""
        kernel, cpu = self.kernel, self.task.cpu
        allowed, _ = kernel.signal_messages.allows(kernel.engine.now_ns)
        if allowed:
            comm, pid = self.entry.comm, self.entry.pid
            if self.is_canonical(address):
                line = segfault_line(
                    comm, pid, self.mm, address, write=write, cpu=cpu.number, nid=cpu.nid
                )
            else:
                line = general_protection_line(comm, pid, self.mm)
            kernel.printk(KERN_INFO, line)
        await self.exit(-SIGSEGV)
        return SIGSEGV

    def signal(self) -> int:
        """Return the signal that ended it, or is about to; 0 for none."""
        entry = self.entry
        if entry.exit_status is not None and entry.exit_status < 0:
            return -entry.exit_status
        return entry.group_exit_code

    async def exit(self, status: int) -> None:
        """End with a status, or with minus a signal; the memory is free when this returns.

        The actor goes when it has answered the messages it already has.

        Source: Linux 6.1 kernel/exit.c:do_exit, kernel/fork.c:mmput
        """
        kernel, entry, task = self.kernel, self.entry, self.task
        if entry.has_ended():
            return
        on_cpu = task.on_cpu
        if not on_cpu:  # the signal woke it
            await task.get_cpu(wakeup=True)
        entry.exit_status = status
        entry.mm_release()
        kernel.writeback.dirty_throttle_leaks[task.cpu.number] += task.dirty.nr_dirtied
        for file in entry.files.values():
            file.inode.nr_open -= 1
        entry.files.clear()
        self.mm.mm_users -= 1
        nr_freed = 0 if self.mm.mm_users else await free_address_space(self.current, self.mm)
        await exit_task(self.current)
        await release_tasks(self.current, self._reap() + [task] * (entry.parent is None))
        del kernel.processes[entry.pid]
        self._fault.ref.stop()
        trace(task, ks_process_exit(entry.pid, entry.comm, status, nr_freed))
        if not on_cpu:
            await task.put_cpu()
        await release_tasks(self.current, self._exit_notify())
        entry.ref.stop()

    def _reap(self) -> list[Task]:
        """Forget the children that have ended, as init does when it has them; return their tasks.

        Source: Linux 6.1 kernel/exit.c:forget_original_parent
        """
        children = self.entry.children
        gone = [child for child in children.values() if child.is_zombie]
        for child in gone:
            child.parent = None
            del children[child.pid], self.kernel.zombies[child.pid]
        return [child.task for child in gone]

    def _exit_notify(self) -> list[Task]:
        """Tell the parent of the end, and leave children to init, which waits for them at once.

        Returns:
            Tasks that nobody waits for any more.

        Source: Linux 6.1 kernel/exit.c:exit_notify, :forget_original_parent
        """
        kernel, entry = self.kernel, self.entry
        released = self._reap()  # those that have ended since
        for child in entry.children.values():
            child.parent = None
        entry.children.clear()
        entry.is_zombie = True
        if entry.parent is not None:  # SIGCHLD
            kernel.zombies[entry.pid] = entry
            entry.parent.signals.wake_all()
        else:
            released.append(self.task)
        entry.exited.wake_all()
        return released
