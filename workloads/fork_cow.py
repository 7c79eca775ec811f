"""fork copies page tables and no pages: a store writes its memory to disk and serves on meanwhile.

A key-value store of 16 MiB forks, as redis does for BGSAVE. The child writes to a file what it
finds in memory: its reads fault on nothing, for it has the parent's pages. The parent goes on
storing, and each page it stores to is copied, once; the child still finds what was there at the
moment of the fork. So a snapshot takes as much memory as is stored to meanwhile. But all of it must
be promised: where promises are counted (vm.overcommit_memory 2) the same fork may fail.

vfork lends the child the parent's own memory until it runs a program: no tables are copied, however
much there is, and the parent waits.
"""

import errno

import attrs

from kernelsim.config.machine_file import load_machine
from kernelsim.errors import SyscallError
from kernelsim.workload import MachineHandle, ProcessHandle, workload
from kernelsim.workload.syscall import MappedRange

DATA_BYTES = 16 << 20
PAGES = DATA_BYTES // 4096
STORED = PAGES // 4  # pages the parent stores to while the snapshot is written
NEVER = 2  # vm.overcommit_memory
LIMIT_KB = 24 << 10
NS_PER_US = 1000
PREPARES_US = 1000  # before the child of vfork runs its program
SIGKILL = 9
MACHINE = attrs.evolve(load_machine("files-512m"), swaps=())


async def snapshot(store: ProcessHandle, machine: MachineHandle, data: MappedRange) -> None:
    """Fork a child that writes the data to a file; store to some of it meanwhile."""

    async def save(child: ProcessHandle) -> None:
        fd = await child.open("/dump", create=True)
        read = await child.touch(data)
        await child.write(fd, DATA_BYTES)
        await child.fsync(fd)
        machine.print(f"child: {read.minflt} faults to read {PAGES} pages")
        machine.expect(read.minflt == 0, "what fork gave the child is mapped")
        machine.expect(child.writer_of(data.address) == store.pid, "it has what was there at fork")

    tables, began_ns = machine.vmstat["nr_page_table_pages"], machine.now_ns
    child = await store.fork(save)
    took_us = (machine.now_ns - began_ns) // NS_PER_US
    tables, anon = machine.vmstat["nr_page_table_pages"] - tables, machine.vmstat["nr_anon_pages"]
    machine.print(f"fork: {took_us} us; the child has {tables} page tables and no page of its own")
    stored = await store.touch(data, length=STORED * 4096, write=True)
    copied = machine.vmstat["nr_anon_pages"] - anon
    machine.print(f"parent: {stored.minflt} faults to store to {STORED} pages, {copied} copied")
    machine.expect(stored.minflt == copied == STORED, "a page is copied at its first store")
    await child.wait()
    state = machine.proc(f"{child.pid}/status").splitlines()[2].split("\t")[1]
    machine.print(f"child: {state} until its parent hears of its end")
    machine.expect(await store.waitpid(child) == 0, "the parent hears its status")
    again = await store.touch(data, write=True)
    machine.print(f"parent: {again.minflt} faults to store to all, none copied: nobody shares them")
    machine.expect(again.minflt == PAGES - STORED, "a page that nobody shares is kept")


async def lend(store: ProcessHandle, machine: MachineHandle) -> None:
    """Start a program by vfork."""
    began_ns, tables = machine.now_ns, machine.vmstat["nr_page_table_pages"]

    async def start(child: ProcessHandle) -> None:
        nonlocal tables
        tables -= machine.vmstat["nr_page_table_pages"]
        await child.sleep(PREPARES_US * NS_PER_US)
        await child.exec("helper")
        await child.sleep("1s")

    child = await store.vfork(start)
    waited_us = (machine.now_ns - began_ns) // NS_PER_US
    machine.print(f"vfork: the parent waits {waited_us} us, until its child runs {child.name!r}")
    is_for_exec = PREPARES_US <= waited_us < 2 * PREPARES_US
    machine.expect(is_for_exec and not tables, "it waits for exec, no longer; no table is copied")
    await child.kill()
    machine.expect(await store.waitpid(child) == -SIGKILL, "the parent hears how it ended")


@workload(machine=MACHINE)
async def main(machine: MachineHandle) -> None:
    """Take a snapshot, start a program, and fork where promises are counted."""
    store = await machine.spawn("store")
    data = await store.mmap(DATA_BYTES)
    await store.touch(data, write=True)
    await snapshot(store, machine, data)
    await lend(store, machine)
    machine.sysctl("vm.overcommit_memory", NEVER)
    machine.sysctl("vm.overcommit_kbytes", LIMIT_KB)
    answer = "success"
    try:
        await store.fork()
    except SyscallError as error:
        answer = errno.errorcode[error.errno]
    machine.print(f"fork where {LIMIT_KB >> 10} MiB may be promised in all: {answer}")
    machine.expect(answer == "ENOMEM", "a fork promises all of its memory once more")
