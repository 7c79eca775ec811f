"""Limits of resources: what a process may have from now on."""

import errno

import pytest

from kernelsim.actors.process.calls.limits import Setrlimit
from kernelsim.errors import ConfigError, SyscallError
from tests.small_machine import PAGE, run, small_machine

SIGSEGV = 11


@pytest.mark.mission("V10")
@pytest.mark.parametrize("limit_kb", [136, 8192, 9000])
def test_a_stack_grows_to_its_limit(limit_kb):
    """A touch of the lowest page is served, of the next one a SIGSEGV."""

    async def main(machine):
        signals = []
        for more in (0, PAGE):
            process = await machine.spawn("p")
            await process.syscall("setrlimit", "STACK", f"{limit_kb}K")
            size = limit_kb * 1024 + more
            signals.append((await process.touch(process.stack(size), length=1)).signal)
        return signals

    assert run(small_machine(), main).result == [0, SIGSEGV]


@pytest.mark.parametrize(
    ("resource", "call", "arguments"),
    [("AS", "mmap", ("64K",)), ("DATA", "mmap", ("64K",)), ("DATA", "brk", (65536,))],
)
def test_memory_beyond_a_limit_is_refused(resource, call, arguments):
    """ENOMEM; the heap stays where it is."""

    async def main(machine):
        process = await machine.spawn("p")
        await process.syscall("setrlimit", resource, 4096)
        if call == "brk":
            heap = await process.brk(0)
            return await process.brk(65536) == heap
        with pytest.raises(SyscallError) as caught:
            await process.mmap(*arguments)
        return caught.value.errno == errno.ENOMEM

    assert run(small_machine(), main).result


def test_what_cannot_be_limited_is_told():
    """A workload's author gets a line, a program EINVAL."""

    async def main(machine):
        process = await machine.spawn("p")
        with pytest.raises(ConfigError, match="must be one of AS, DATA, MEMLOCK, STACK"):
            await process.syscall("setrlimit", "NOFILE", 5)
        entry = machine.kernel.processes[process._process.pid]
        return [await entry.ref.ask(Setrlimit(*each)) for each in (("CPU", 1), ("AS", -1))]

    assert run(small_machine(), main).result == [-errno.EINVAL, -errno.EINVAL]


def test_a_hard_limit_is_raised_by_root_only():
    """A soft limit stays below the hard one; children have both; who is not root only lowers it."""

    async def main(machine):
        process = await machine.spawn("p")
        answers = []

        async def limit(who, *words):
            try:
                await who.syscall("setrlimit", "MEMLOCK", *words)
            except SyscallError as error:
                answers.append(errno.errorcode[error.errno])
            else:
                answers.append("")

        await limit(process, "9M")  # 8 MiB at boot
        await limit(process, "9M", "10M")
        await limit(process, "10M")
        child = await process.fork()
        child.uid = 1000
        await limit(child, "11M", "11M")
        await limit(child, "3M", "4M")
        await limit(child, "4M", "5M")
        await limit(child, "5M")
        await limit(child, "4M", "4M")
        return answers

    expected = ["EINVAL", "", "", "EPERM", "", "EPERM", "EINVAL", ""]
    assert run(small_machine(), main).result == expected
