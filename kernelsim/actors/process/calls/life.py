"""Sleeping, ending, and what a C program does of its own before its main and when it prints.

Linux: kernel/exit.c, fs/binfmt_elf.c, 6.1.
Units: ns.
"""

from typing import Final

import attrs
import numpy as np

from kernelsim.actors.process.calls.access import TouchPages, touch_pages
from kernelsim.actors.process.calls.call import Call
from kernelsim.actors.process.calls.caller import Caller
from kernelsim.actors.process.calls.protecting import Mprotect, mprotect
from kernelsim.mm.core.vmstat import PGFAULT
from kernelsim.mm.space.binfmt_elf import ElfProgram, load_segments
from kernelsim.mm.space.mmap import MappedFile
from kernelsim.mm.space.pgtable import MM_FILEPAGES
from kernelsim.mm.space.static_program import (
    FORK_FAULTS,
    IMAGE_FILE_FAULTS,
    IMAGE_FILE_PAGES,
    bss_end,
    map_libc_start,
    map_vdso,
)
from kernelsim.mm.space.vm_flags import PROT_READ
from kernelsim.units import PAGE_SHIFT, PAGE_SIZE

TLS_BYTES: Final = 3 << PAGE_SHIFT  # libc's thread-local storage, and the loader's own
CANNOT_LOAD: Final = 127  # status of a program whose libraries cannot be loaded
FIRST_REPORT_PAGES: Final = 3  # of its data that a program first writes when it prints


@attrs.frozen
class StartImage:
    """Do what a C program does before its main: load its pages, ask for a heap."""


@attrs.frozen
class StartPrinting:
    """Touch what a C program touches when it first prints: the buffers of its output."""


@attrs.frozen
class Sleep:
    """Sleep off the CPU."""

    ns: int


@attrs.frozen
class Sigaction:
    """Have handlers for SIGSEGV and SIGBUS: a fault that raises one ends the accesses, no more."""

    catches_faults: bool = True


@attrs.frozen
class Exit:
    """End with a status."""

    status: int = 0


async def start_image(caller: Caller, _message: StartImage) -> None:
    """Touch what a static program touches before its main.

    Its text is page cache the machine had before; it counts as resident only. A program that
    gets no heap, since the commit limit is used up, does not survive its start.
    """
    stat, entry = caller.task.rss_stat, caller.entry
    if isinstance(entry.program, ElfProgram):  # the vDSO is there, and what it touches is its own
        await load_libraries(caller, entry.program)
        return
    if not entry.program.has_libc:
        map_vdso(caller.mm)
        return
    stack, data = map_libc_start(caller.mm)
    await touch_pages(caller, TouchPages(stack[:1], np.ones(1, np.uint8)))
    stat.sync()  # exec adds the page of the arguments at once
    vpns = np.concatenate((stack[1:], data))
    if not entry.has_ended():
        await touch_pages(caller, TouchPages(vpns, np.ones(len(vpns), np.uint8)))
    if entry.has_ended():
        return
    stat.count_faults(IMAGE_FILE_FAULTS, (0, 0, 0, 0))
    stat.pending[MM_FILEPAGES] += IMAGE_FILE_PAGES
    caller.mm.image_rss_pages = IMAGE_FILE_PAGES
    entry.minflt += FORK_FAULTS + IMAGE_FILE_FAULTS
    caller.kernel.mem.vm_event[PGFAULT] += FORK_FAULTS + IMAGE_FILE_FAULTS


async def load_libraries(caller: Caller, program: ElfProgram) -> None:
    """Map what the interpreter loads, each library below the one before; relocate all of it.

    A program that gets no memory for one ends.

    Source: glibc 2.36 elf/dl-map-segments.h, elf/dl-reloc.c, csu/libc-tls.c, elf/dl-catch.c
    """
    elf = caller.entry.elf
    if not program.libraries or elf is None:
        return
    placed = [(program.image, elf.bias)]
    if program.interpreter is not None:
        placed.append((program.interpreter, elf.interpreter_bias))
    for image in program.libraries:
        loaded = load_segments(caller.mm, image, MappedFile(image.path), 0, 0)
        if await caller.finish(loaded.change) < 0:
            await caller.exit(CANNOT_LOAD)
            return
        placed.append((image, loaded.bias))
    if await caller.finish(caller.mm.mmap(TLS_BYTES)) < 0:
        await caller.exit(CANNOT_LOAD)
        return
    for image, bias in placed:
        address, nr_bytes = image.relro[0] + bias, image.relro[1]
        vpns = np.arange(address, address + nr_bytes, PAGE_SIZE) >> PAGE_SHIFT
        await touch_pages(caller, TouchPages(vpns, np.ones(len(vpns), np.uint8)))
        if not caller.entry.has_ended():
            await mprotect(caller, Mprotect(address, nr_bytes, PROT_READ))


async def start_printing(caller: Caller, _message: StartPrinting) -> None:
    """Touch the buffers of its output, in pages it has not written before."""
    end = bss_end(caller.mm) >> PAGE_SHIFT
    vpns = np.arange(end - FIRST_REPORT_PAGES, end)
    await touch_pages(caller, TouchPages(vpns, np.ones(len(vpns), np.uint8)))


async def sleep(caller: Caller, message: Sleep) -> None:
    """Sleep off the CPU; a signal ends the sleep, and the process."""
    entry = caller.entry
    with caller.kernel.engine.move_on_after(message.ns):
        await entry.signals.wait()
    if entry.must_die():
        await caller.exit(-entry.group_exit_code)


async def sigaction(caller: Caller, message: Sigaction) -> None:
    """Set handlers.

    Source: Linux 6.1 kernel/signal.c:do_sigaction
    """
    await caller.enter_kernel()
    caller.entry.catches_faults = message.catches_faults


async def exit_group(caller: Caller, message: Exit) -> None:
    """End of the program's own accord."""
    await caller.enter_kernel()
    await caller.exit(message.status)


CALLS: Final = (
    Call(name="start of the image", value=StartImage, handler=start_image),
    Call(name="start of printing", value=StartPrinting, handler=start_printing),
    Call(name="sleep", value=Sleep, handler=sleep, is_program=False),
    Call(name="sigaction", value=Sigaction, handler=sigaction),
    Call(name="exit", value=Exit, handler=exit_group),
)
