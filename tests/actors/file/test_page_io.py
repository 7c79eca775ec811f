"""Getting pages of a file from its device, when that fails the first time."""

import errno

import pytest

from kernelsim.errors import SyscallError
from tests.small_machine import PAGE, run, small_machine


def test_part_of_a_page_is_written_once_it_can_be_read():
    """A window fails for one bad page; its neighbour is read again and written, that one is EIO."""

    async def main(machine):
        process = await machine.spawn("writer")
        fd = await process.open("/data")
        inode = machine.kernel.files.by_path["/data"]
        place, _ = inode.map_blocks(2, 1)
        machine.disk("vda").fail_reads(first=place * PAGE, length=PAGE)
        assert await process.read(fd, PAGE) == PAGE  # the window of four pages, and page 0 alone
        before = machine.vmstat["pgpgin"]
        assert await process.write(fd, 100, offset=PAGE + 7) == 100
        read_kb = machine.vmstat["pgpgin"] - before
        with pytest.raises(SyscallError) as caught:
            await process.write(fd, 100, offset=2 * PAGE + 7)
        return read_kb, caught.value.errno, machine.vmstat["nr_dirty"]

    spec = small_machine(memory="32M", files={"/data": "1M"})
    assert run(spec, main).result == (4, errno.EIO, 1)
