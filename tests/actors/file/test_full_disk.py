"""Tests of writing to a disk that has no room left."""

import errno

import pytest

from kernelsim.errors import SyscallError
from tests.actors.file.test_file_write import machine_with_disk, writer
from tests.small_machine import PAGE, run


def test_a_full_disk_refuses_writes_before_they_are_dirty():
    """What fits is written, the rest is ENOSPC; all that was accepted reaches the disk."""

    async def main(machine):
        process, fd = await writer(machine)
        got = await process.write(fd, 2 << 20)
        with pytest.raises(SyscallError) as refused:
            await process.write(fd, PAGE)
        await process.fsync(fd)
        other = await process.open("/g", create=True)
        with pytest.raises(SyscallError):
            await process.write(other, PAGE)
        await process.write(fd, PAGE, offset=0)  # it has its place already
        await process.syscall("ftruncate", fd, PAGE)
        assert await process.write(other, PAGE) == PAGE
        return got, refused.value.errno, machine.kernel.files.filesystems["vda"].nr_free

    got, refused, free = run(machine_with_disk(disk={"size": "1M"}), main).result
    assert (got, refused) == (1 << 20, errno.ENOSPC)
    assert free == 255


def test_what_fits_of_a_cached_hole_is_written():
    """Pages of a hole that were read have no place yet; as many get one as there are."""

    async def main(machine):
        process, fd = await writer(machine)
        filesystem = machine.kernel.files.filesystems["vda"]
        await process.write(fd, (filesystem.nr_free - 5) * PAGE)
        await process.fsync(fd)
        other, hole = await writer(machine, "/hole", "other")
        await other.syscall("ftruncate", hole, 8 * PAGE)
        assert await other.read(hole, 8 * PAGE) == 8 * PAGE
        got = await other.write(hole, 8 * PAGE, offset=0)
        with pytest.raises(SyscallError) as refused:
            await other.write(hole, PAGE, offset=got)
        await other.fsync(hole)
        return got, refused.value.errno, filesystem.nr_free

    spec = machine_with_disk(disk={"size": "1M"})
    assert run(spec, main).result == (5 * PAGE, errno.ENOSPC, 0)
