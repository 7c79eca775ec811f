"""The program of portable scripts linked dynamically, as the kernel and ld.so load it.

Its heap is empty when its main begins: the C library has asked for none yet. Its files lie in the
initramfs, so no page of them is read from a disk.
Differs: Of its pages and those of its libraries only what is relocated is touched before its main.

Interface: `MEMHOGDYN`. Sizes as its /proc/self/maps shows them in recording d01 (glibc 2.36).
Units: bytes.
"""

from typing import Final

from kernelsim.mm.space.binfmt_elf import ElfImage, ElfProgram, ElfSegment
from kernelsim.mm.space.vm_flags import PROT_EXEC, PROT_READ, PROT_WRITE

READ: Final = PROT_READ
CODE: Final = PROT_READ | PROT_EXEC
DATA: Final = PROT_READ | PROT_WRITE


def image(path: str, bss_bytes: int, relro_bytes: int, *segments: tuple[int, int, int]) -> ElfImage:
    """Return an image of segments that follow each other, the last of them with a bss.

    Args:
        path: The file.
        bss_bytes: Zeros behind the last segment.
        relro_bytes: First bytes of the last segment that are read-only after relocation.
        segments: Of each its bytes, offset in the file and PROT_* bits.
    """
    made, address = list[ElfSegment](), 0
    for nr_bytes, offset, prot in segments:
        zeros = bss_bytes if len(made) + 1 == len(segments) else 0
        made.append(
            ElfSegment(
                offset=offset,
                address=address,
                file_bytes=nr_bytes,
                memory_bytes=nr_bytes + zeros,
                prot=prot,
            )
        )
        address += nr_bytes
    relro = (made[-1].address, relro_bytes)
    return ElfImage(path=path, segments=tuple(made), is_dyn=True, relro=relro)


MEMHOGDYN: Final = ElfProgram(
    image=image(
        "/bin/memhogdyn",
        0x56000,
        0x1000,
        (0x2000, 0x0, READ),
        (0x5000, 0x2000, CODE),
        (0x2000, 0x7000, READ),
        (0x2000, 0x8000, DATA),
    ),
    interpreter=image(
        "/lib64/ld-linux-x86-64.so.2",
        0,
        0x2000,
        (0x1000, 0x0, READ),
        (0x26000, 0x1000, CODE),
        (0xA000, 0x27000, READ),
        (0x4000, 0x31000, DATA),
    ),
    libraries=(
        image(
            "/lib/x86_64-linux-gnu/libc.so.6",
            0xF000,
            0x4000,
            (0x26000, 0x0, READ),
            (0x156000, 0x26000, CODE),
            (0x53000, 0x17C000, READ),
            (0x6000, 0x1CF000, DATA),
        ),
    ),
)
