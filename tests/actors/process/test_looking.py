"""Reading files of /proc and printing: what a program spends on it."""

import pytest

from tests.small_machine import run, small_machine


@pytest.mark.parametrize(
    ("nr_read", "nr_lines", "nr_printed"), [(0, 1, 80), (4096, 0, 0), (4096, 3, 240)]
)
def test_each_byte_and_each_call_takes_its_time(nr_read, nr_lines, nr_printed):
    """A read of a file, and a write a line, each enter the kernel; the rest goes by the byte."""

    async def main(machine):
        process = await machine.spawn("p")
        latency, began_ns = machine.kernel.spec.latency, machine.now_ns
        await process.report(nr_read, nr_lines, nr_printed)
        calls = (nr_read > 0) + nr_lines
        by_byte = latency.seq_file_byte_ns * nr_read + latency.tty_byte_ns * nr_printed
        entering = latency.syscall_entry_ns * calls
        return machine.now_ns - began_ns - by_byte - entering, latency.context_switch_ns

    rest_ns, switch_ns = run(small_machine(), main).result
    assert 0 <= rest_ns <= 2 * switch_ns
