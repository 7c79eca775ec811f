"""The birth and the death of an address space.

Linux: kernel/fork.c:mm_init, fs/binfmt_elf.c:load_elf_binary, mm/mmap.c:exit_mmap, 6.1.
Both run in the time of the process's own task.
Units: bytes for addresses; pages.
"""

from typing import Final

import attrs
import numpy as np

from kernelsim.actors.alloc.page_allocator import alloc_pages, pgd_context
from kernelsim.actors.alloc.task_struct import alloc_objects, free_objects
from kernelsim.actors.core.current import Current
from kernelsim.actors.core.free_pages import free_frames
from kernelsim.actors.core.memory_access import clear_pages
from kernelsim.actors.core.reaped_mm import wait_while_reaped
from kernelsim.actors.file.filemap import FileReader
from kernelsim.actors.space.mapped_file import mapped_file
from kernelsim.actors.space.mlock import mlock_vma_pages_range
from kernelsim.actors.space.mmu_gather import free_tables, unmap_vmas
from kernelsim.actors.space.shmem import shmem_evict
from kernelsim.fs.file import OpenFile
from kernelsim.mm.core.slab_cache import MM_STRUCT
from kernelsim.mm.space.address_layout import ADDRESS_LAYOUTS
from kernelsim.mm.space.binfmt_elf import ElfProgram, LoadedElf, load_elf
from kernelsim.mm.space.exec import (
    AddressDraw,
    draw_addresses,
    load_image,
    setup_arg_pages,
    static_image,
)
from kernelsim.mm.space.mlock import is_locked
from kernelsim.mm.space.mm_struct import MmStruct
from kernelsim.mm.space.mmap import MappedFile
from kernelsim.mm.space.pgtable import pgd_alloc, pgd_free
from kernelsim.mm.space.static_program import StaticProgram, map_vdso
from kernelsim.sim.rng import Rng
from kernelsim.units import PAGE_SHIFT, PAGE_SIZE

BINPRM_BUF_SIZE: Final = 256  # of a file's beginning, in which its headers are looked for


@attrs.frozen
class LoadedProgram:
    """What a process begins with.

    Attributes:
        is_loaded: Whether the whole image is in its address space; if not, exec has failed behind
            the point from which it cannot go back, and the process must die.
        elf: Where a program from a file has been loaded.
    """

    is_loaded: bool
    elf: LoadedElf | None = None


async def mm_alloc(current: Current, before: MmStruct | None = None) -> MmStruct | None:
    """Make an address space without mappings; None if the task was killed waiting for its page.

    Args:
        current: Its task.
        before: The address space of the task, whose limits and privileges it keeps.

    Source: Linux 6.1 kernel/fork.c:mm_alloc, :mm_init
    """
    kernel, task = current
    objects = await alloc_objects(current, (MM_STRUCT,))
    out = np.zeros(1, np.int64)
    grant = await alloc_pages(current, pgd_context(current), 1, out)
    if not grant.nr:
        await free_objects(current, objects)
        return None
    await clear_pages(current, grant.nid, 1)
    mm = kernel.mms.mm_alloc(task.pid)
    mm.objects = objects
    if before is not None:
        mm.rlimits = attrs.evolve(before.rlimits)
        mm.set_capabilities(has_them=before.cap_sys_admin)
    kernel.pool.reserve(1)
    pgd_alloc(*kernel.space, mm.number, int(out[0]))
    kernel.placed(1)
    return mm


async def open_program(
    current: Current, program: StaticProgram | ElfProgram
) -> dict[str, MappedFile]:
    """Read the headers of a program and of its interpreter; return their files by path.

    Source: Linux 6.1 fs/exec.c:prepare_binprm, fs/binfmt_elf.c:load_elf_binary
    """
    kernel, reader = current.kernel, FileReader(current)
    files: dict[str, MappedFile] = {}
    if isinstance(program, StaticProgram):
        return files
    for image in (program.image, program.interpreter):
        if image is not None and image.path not in kernel.files.by_path:
            files[image.path] = MappedFile(image.path)  # of the initramfs: it lies in memory
        elif image is not None:
            opened = OpenFile(kernel.files.by_path[image.path], can_write=False)
            await reader.read(opened, 0, BINPRM_BUF_SIZE, BINPRM_BUF_SIZE, None)
            files[image.path] = mapped_file(kernel, opened)
    return files


def load_program(
    current: Current,
    mm: MmStruct,
    program: StaticProgram | ElfProgram,
    files: dict[str, MappedFile],
    nr_execs: int = 0,
) -> LoadedProgram:
    """Map an image, a heap and a stack, none of it touched.

    Args:
        current: The task.
        mm: Its address space, without mappings.
        program: What it is to run.
        files: Those of the program.
        nr_execs: Programs it has put in place of the first one.

    Source: Linux 6.1 fs/binfmt_elf.c:load_elf_binary
    """
    kernel, task = current
    layout = ADDRESS_LAYOUTS[kernel.spec.arch]
    of_exec = f" after exec {nr_execs}" if nr_execs else ""
    rng = Rng(kernel.engine.seed, f"addresses of {task.name}{of_exec}")  # none the engine keeps
    draw = draw_addresses(rng.below, layout, kernel.sysctl.kernel_randomize_va_space)
    if isinstance(program, ElfProgram):
        return _load_elf(mm, program, files, draw)
    image = static_image(
        text_bytes=program.text_bytes,
        data_bytes=program.data_bytes,
        bss_bytes=program.bss_bytes,
        start=layout.image_start,
    )
    change = load_image(mm, MappedFile(program.path), image, draw=draw)
    return LoadedProgram(not change.failed)


def _load_elf(
    mm: MmStruct, program: ElfProgram, files: dict[str, MappedFile], draw: AddressDraw
) -> LoadedProgram:
    """Map a stack, a program from a file, its interpreter and the vDSO."""
    if setup_arg_pages(mm, draw=draw).failed:
        return LoadedProgram(is_loaded=False)
    loaded = load_elf(
        mm,
        program,
        files,
        rnd_pages=draw.elf_pages,
        brk_rnd_pages=draw.brk_pages if draw.moves_brk else None,
    )
    if not loaded.change.failed:
        map_vdso(mm)
    return LoadedProgram(not loaded.change.failed, loaded)


async def free_address_space(current: Current, mm: MmStruct) -> int:
    """Unmap everything, free the page tables, forget the address space; return frames freed.

    Source: Linux 6.1 mm/mmap.c:exit_mmap
    """
    kernel, task = current
    assert kernel.mms.mms.pgd_row[mm.number], f"{task.name} gives its address space back twice"
    areas = mm.exit_mmap().unmapped
    for vma in areas:
        if is_locked(vma):
            await mlock_vma_pages_range(current, mm, vma.start, vma.end, locks=False)
    freed = await unmap_vmas(current, mm, areas)
    for vma in areas:
        mm.map.unlink_file(vma)
    await shmem_evict(current, areas)
    mm.oom_skip = True
    while mm.number in kernel.reaped_mms:
        await wait_while_reaped(current, mm.number)
    end_vpn = (mm.map.task_size + PAGE_SIZE) >> PAGE_SHIFT  # the table of the last page included
    freed += await free_tables(current, mm, 0, end_vpn)
    tables = np.zeros(1, np.int64)
    tables[0] = pgd_free(*kernel.space, mm.number)
    freed += await free_frames(current, tables, kernel.taken(1))
    kernel.mmap_locks.pop(mm.number, None)
    kernel.mms.mm_free(mm)
    if mm.objects is not None:
        await free_objects(current, mm.objects)
    return freed


async def mmput(current: Current, mm: MmStruct) -> None:
    """Let go of an address space; it goes if all its processes have ended meanwhile.

    Source: Linux 6.1 kernel/fork.c:mmput
    """
    mm.mm_users -= 1
    if not mm.mm_users:
        await free_address_space(current, mm)
