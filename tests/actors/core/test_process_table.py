"""What the kernel knows of a process, and the signals it is sent."""

import pytest

from kernelsim.errors import ConfigError
from tests.small_machine import run, small_machine


def test_memory_that_two_processes_share_outlives_the_first():
    """An address space is taken apart when the last of its users ends."""

    async def main(machine):
        first = await machine.spawn("first")
        area = await first.mmap("1M")
        await first.touch(area, write=True)
        mm = first._process.mm
        mm.mm_users = 2  # as if a second one had been made with CLONE_VM
        await first.exit()
        assert machine.kernel.mms.by_number[mm.number] is mm
        return mm.mm_users, mm.total_vm > 0

    assert run(small_machine(), main).result == (1, True)


@pytest.mark.parametrize("number", [9, 15])
def test_a_process_ends_with_the_signal_it_was_sent(number):
    """Its status is the signal's number with a minus, and the first signal counts."""

    async def main(machine):
        process = await machine.spawn("victim")
        await process.kill(number)
        await process.kill(2)
        return await process.wait()

    assert run(small_machine(), main).result == -number


@pytest.mark.parametrize("number", [0, 17, 19, 100, "9", True])
def test_a_signal_that_ends_nothing_is_refused(number):
    """No such signal, one whose default is to do nothing or to stop: refused in one line."""

    async def main(machine):
        process = await machine.spawn("victim")
        with pytest.raises(ConfigError, match="signal"):
            await process.kill(number)

    run(small_machine(), main)
