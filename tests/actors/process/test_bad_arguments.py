"""Arguments of system calls that mean nothing: the errno is the one the kernel comes to first."""

import errno

import pytest

from kernelsim.actors.process.calls.file_write import Write
from kernelsim.actors.process.calls.files import Read
from kernelsim.actors.process.calls.mapping import Mmap
from kernelsim.actors.process.calls.mempolicy import Mbind, SetMempolicyHomeNode
from kernelsim.mm.page.mempolicy import MPOL_BIND, MPOL_INTERLEAVE
from kernelsim.mm.space.mmap import TASK_SIZE
from kernelsim.mm.space.vm_flags import (
    MAP_ANONYMOUS,
    MAP_FIXED,
    MAP_HUGETLB,
    MAP_PRIVATE,
    MAP_SHARED,
    PROT_READ,
)
from kernelsim.workload.syscall import MappedRange
from tests.small_machine import PAGE, run, small_machine

pytestmark = [pytest.mark.mission("V12")]

WORD_MAX = (1 << 64) - 1  # as a length it is rounded up to 0
WHERE = 0x1000_0000_0000
FAR = WORD_MAX - PAGE + 1  # the last offset
NOBODY = 99
FIXED = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED
BAD = [
    (SetMempolicyHomeNode(WHERE, PAGE, -1), errno.EINVAL),
    (SetMempolicyHomeNode(WHERE, PAGE, -(1 << 31)), errno.EINVAL),
    (SetMempolicyHomeNode(WHERE, WORD_MAX, 0), 0),
    (Mbind(WHERE, WORD_MAX, MPOL_INTERLEAVE, (0,)), 0),
    (Mbind(WHERE, 0, MPOL_BIND), 0),  # an empty range comes before nodes that make no policy,
    (Mbind(WHERE, 0, MPOL_BIND, (-1,)), errno.EINVAL),  # but behind nodes that there cannot be,
    (Mbind(WHERE, PAGE, MPOL_BIND, (1024,), move_all=True), errno.EINVAL),  # and so do rights
    (Mbind(WHERE, PAGE, MPOL_BIND, (0,), move_all=True), errno.EPERM),
    (Mmap(PAGE, flags=FIXED), errno.EPERM),  # CAP_SYS_RAWIO may; below vm.mmap_min_addr
    (Mmap(PAGE, address=15 * PAGE, flags=FIXED), errno.EPERM),
    (Mmap(PAGE, address=16 * PAGE, flags=FIXED), 0),
    (Mmap(PAGE, fd=NOBODY, flags=MAP_PRIVATE | MAP_HUGETLB), errno.EBADF),
    (Mmap(2 * PAGE, offset=FAR, flags=MAP_PRIVATE | MAP_ANONYMOUS), 0),  # means nothing there
    (Mmap(2 * PAGE, offset=FAR, flags=MAP_SHARED | MAP_ANONYMOUS), 0),
]


def test_the_first_thing_that_is_wrong_is_told():
    """Each call answers as Linux 6.1, in the order of its checks."""

    async def main(machine):
        process = await machine.spawn("p")
        process.uid = NOBODY
        entry = machine.kernel.processes[process.pid]
        return [await entry.ref.ask(value) for value, _ in BAD]

    answers = run(small_machine(memory="8M"), main).result

    assert [max(-answer, 0) for answer in answers] == [number for _, number in BAD]


def test_a_read_stores_as_far_as_it_may():
    """Into a mapping that permits no stores it is EFAULT; one that ends has a short read.

    Source: Linux 6.1 fs/read_write.c:ksys_pread64, :vfs_read, mm/filemap.c:filemap_read
    """

    async def main(machine):
        process = await machine.spawn("p")
        entry = machine.kernel.processes[process.pid]
        fd = await process.open("/data")
        both = await process.mmap(2 * PAGE)
        second = MappedRange(both.address + PAGE, PAGE)
        await process.syscall("mprotect", second, PROT_READ)
        calls = (
            Read(fd, 2 * PAGE, 0, buffer=both.address + 100),
            Read(fd, 2 * PAGE, 0, buffer=second.address),
            Read(fd, 2 * PAGE, 0, buffer=TASK_SIZE - PAGE),
            Read(fd, 2 * PAGE, 1 << 40, buffer=second.address),  # nothing is there to be stored
            Read(fd, 2 * PAGE, 1 << 40, buffer=TASK_SIZE - PAGE),
            Read(NOBODY, PAGE, -2),
            Write(NOBODY, PAGE, 1 << 63),
            Read(NOBODY, 1 << 63),
        )
        return [await entry.ref.ask(call) for call in calls]

    told = run(small_machine(memory="8M", files={"/data": "64K"}), main).result

    wrong = [-errno.EFAULT, -errno.EINVAL, -errno.EINVAL, -errno.EBADF]
    assert told == [PAGE - 100, -errno.EFAULT, -errno.EFAULT, 0, *wrong]


def test_root_may_map_page_zero():
    """CAP_SYS_RAWIO is above vm.mmap_min_addr: a load from address 0 finds a page of zeros.

    Source: Linux 6.1 security/commoncap.c:cap_mmap_addr
    """

    async def main(machine):
        process = await machine.spawn("root")
        entry = machine.kernel.processes[process.pid]
        where = await entry.ref.ask(Mmap(2 * PAGE, flags=FIXED))
        stored = await process.touch(MappedRange(where, 2 * PAGE), write=True)
        again = await entry.ref.ask(Mmap(PAGE, flags=FIXED))
        await process.madvise_dontneed(MappedRange(PAGE, PAGE))
        return where, stored.signal, stored.minflt, again

    assert run(small_machine(memory="8M"), main).result == (0, 0, 2, 0)
