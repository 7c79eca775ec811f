"""Programs from real ELF files: their headers are read here, their pages by the machine.

The file appears on the machine's first disk under its own path, with as many pages as it has; its
interpreter, too. What is in them does not matter to the kernel, and is not copied.
Interface: `elf_program` for `spawn(exe=…)`; `section_of` for what it has in memory.
"""

from pathlib import Path

from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.core.process_table import ProcessEntry
from kernelsim.errors import ConfigError
from kernelsim.fs.inode import Inode
from kernelsim.mm.space.binfmt_elf import ElfImage, ElfProgram
from kernelsim.user.elf import ElfFile, NoElfError, read_elf
from kernelsim.workload.syscall import MappedRange

RULE = "must be the path of a program that can be read, or its bytes"


def elf_program(kernel: Kernel, comm: str, exe: str | Path | bytes | ElfProgram) -> ElfProgram:
    """Return a program from a file of the host, or from the bytes of one.

    Args:
        kernel: The machine that shall run it.
        comm: Name of the process; one that is given as bytes lies in /usr/bin under it.
        exe: Path, or bytes; a program whose headers are known already is what it is.

    Raises:
        ConfigError: There is no such file, it is no program for this machine, it has no disk, or
            another file is there.
    """
    if isinstance(exe, ElfProgram):
        return exe
    path, content = f"/usr/bin/{comm}", exe
    if not isinstance(content, bytes):
        if not isinstance(content, str | Path):
            raise ConfigError("exe", exe, RULE)
        path, content = _read(content)
    program = _elf_file(kernel, path, content)
    interpreter: ElfImage | None = None
    if program.interpreter:
        interpreter = _elf_file(kernel, *_read(program.interpreter)).image
    return ElfProgram(image=program.image, interpreter=interpreter)


def _read(path: str | Path) -> tuple[str, bytes]:
    """Return the path of a file, as maps shows it behind all links, and its bytes."""
    try:
        found = Path(path).resolve(strict=True)
        return str(found), found.read_bytes()
    except (OSError, ValueError) as error:
        rule = f"{RULE}: {getattr(error, 'strerror', None) or error}"
        raise ConfigError("exe", path, rule) from None


def _elf_file(kernel: Kernel, path: str, content: bytes) -> ElfFile:
    """Return what a file's headers say; put it on the first disk if it is not there yet."""
    try:
        found = read_elf(path, content)
    except NoElfError as error:
        raise ConfigError("exe", path, str(error)) from None
    if found.word_bits != (64 if kernel.spec.arch == "x86_64" else 32):
        raise ConfigError("exe", path, f"must be a program for {kernel.spec.arch}")
    there = kernel.files.by_path.get(path)
    if there is not None and there.size != found.nr_bytes:
        rule = f"must have {there.size} bytes, as the file of the machine has there"
        raise ConfigError("exe", path, rule)
    if there is not None:
        return found
    device = next(iter(kernel.files.filesystems), None)
    made: Inode | int | None = None
    if device is not None:
        made = kernel.files.create_full(path, found.nr_bytes, device)
    if not isinstance(made, Inode):
        raise ConfigError("exe", path, "must fit a disk of the machine")
    kernel.spaces.add(made.number)
    kernel.observer.installed(made)
    return found


def section_of(process: ProcessEntry, name: str) -> MappedRange:
    """Return where a section of its program lies in memory, such as ".text" or ".bss".

    Raises:
        ConfigError: It runs no program from a file, or that has no such section in memory.
    """
    program, elf = process.program, process.elf
    sections = program.image.sections if isinstance(program, ElfProgram) else ()
    for section in sections:
        if section.name == name and elf is not None:
            return MappedRange(section.address + elf.bias, section.nr_bytes)
    known = ", ".join(section.name for section in sections) or "none, as it is from no file"
    raise ConfigError("section", name, f"must be one of {known}")
