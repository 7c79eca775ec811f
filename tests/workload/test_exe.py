"""Programs from ELF files on a machine: the real loader's mappings, faults, and mistakes."""

import ctypes
import os
import re
import runpy
import shutil
import signal
import sys
from pathlib import Path

import pytest

from kernelsim.check.machine import check_machine
from kernelsim.errors import ConfigError, ProcessEndedError
from kernelsim.workload.script.memhogdyn import MEMHOGDYN
from tests.small_machine import run, small_machine

ELF = runpy.run_path(str(Path(__file__).parents[2] / "workloads" / "elf_program.py"))["elf_file"]()
DISK = {"files": {"/data": "4K"}, "memory": "64M"}
MAPS_LINE = re.compile(r"(\w+)-(\w+) (\S+) (\w+) \S+ \d+ *(.*)")
OF_THE_KERNEL = ("[vvar]", "[vvar_vclock]", "[vdso]", "[vsyscall]")  # other kernels have others


def shape(maps):
    """Return length, permissions, offset and name of each mapping, and where gaps are."""
    rows, last = [], 0
    for line in maps.splitlines():
        start, end, access, offset, name = MAPS_LINE.fullmatch(line).groups()
        if name not in OF_THE_KERNEL:
            is_adjacent = int(start, 16) == last and name != "[stack]"
            rows.append((is_adjacent, int(end, 16) - int(start, 16), access, offset, name))
            last = int(end, 16)
    return rows


def maps_after_exec(path):
    """Return the maps of a real program that is stopped right after its exec; None if it cannot."""
    libc = ctypes.CDLL(None, use_errno=True)
    pid = os.fork()
    if not pid:
        if libc.ptrace(0, 0, 0, 0) == 0:  # PTRACE_TRACEME
            os.execv(path, [path])  # noqa: S606 - the program itself, stopped
        os._exit(1)
    _, status = os.waitpid(pid, 0)
    if not os.WIFSTOPPED(status):
        return None
    maps = Path(f"/proc/{pid}/maps").read_text()
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return maps


@pytest.mark.mission("V13")
@pytest.mark.skipif(sys.platform != "linux", reason="a real loader is compared with")
@pytest.mark.parametrize("name", ["true", "cat"])
def test_segments_are_mapped_as_the_real_loader_does(name):
    """Lengths, permissions, offsets, files and neighbours of all mappings after exec."""
    path = shutil.which(name)
    real = path and maps_after_exec(path)
    if not real:
        pytest.skip("no such program, or none may be traced here")

    async def main(machine):
        process = await machine.spawn(name, exe=path)
        return process.proc("maps")

    assert shape(run(small_machine(**DISK), main).result) == shape(real)


@pytest.mark.mission("V13")
def test_pages_come_through_the_page_cache_and_stores_are_private():
    """The file holds what it held; a child shares the copies; exec starts afresh."""

    async def main(machine):
        process = await machine.spawn("hello", exe=ELF)
        await process.touch(process.section(".text"))
        data = process.section(".data")
        await process.touch(data, write=True)
        child = await process.fork()
        same = await child.touch(data)
        text = await child.touch(child.section(".text"), length=1)
        assert check_machine(machine.kernel) == []
        await child.exec("again", exe=ELF)
        assert child.proc("maps").count("/usr/bin/again") == 3
        fresh = await child.touch(child.section(".data"), write=True)
        assert check_machine(machine.kernel) == []
        return same.minflt, text.minflt, text.majflt, fresh.minflt + fresh.majflt

    assert run(small_machine(**DISK), main).result == (0, 1, 0, 5)


@pytest.mark.parametrize(
    ("machine", "exe", "rule"),
    [
        (DISK, "/nowhere/x", "No such file"),
        (DISK, "/", "directory"),
        (DISK, b"#!/bin/sh", "must be an ELF file"),
        (DISK, 7, "must be the path"),
        ({"memory": "64M"}, ELF, "a disk of the machine"),
        (DISK | {"files": {"/usr/bin/x": "4K"}}, ELF, "must have 4096 bytes, as the file"),
    ],
)
def test_mistakes_are_one_line(machine, exe, rule):
    """The key, the value, the rule."""

    async def main(handle):
        with pytest.raises(ConfigError, match=f"exe.*{rule}") as caught:
            await handle.spawn("x", exe=exe)
        return "\n" in str(caught.value)

    assert run(small_machine(**machine), main).result is False


def test_a_program_without_a_file_has_no_sections():
    """It says so; of one from a file it lists them."""

    async def main(machine):
        plain = await machine.spawn("plain")
        with pytest.raises(ConfigError, match="from no file"):
            plain.section(".text")
        hello = await machine.spawn("hello", exe=ELF)
        with pytest.raises(ConfigError, match=r"\.text, \.rodata, \.data, \.bss"):
            hello.section(".plt")

    run(small_machine(**DISK), main)


def test_a_program_whose_libraries_find_no_room_ends():
    """Its loader says so by its status, 127; nothing goes on as if they were there."""

    async def main(machine):
        process = await machine.spawn("p", exe=MEMHOGDYN)
        held = int(process.proc("statm").split()[0])
        await process.syscall("setrlimit", "AS", (held + 10) << 12)
        with pytest.raises(ProcessEndedError, match="status 127"):
            await process.start_image()

    run(small_machine(**DISK), main)
