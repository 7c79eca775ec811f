"""What the kernel log says of a segfault."""

import pytest

from kernelsim.mm.space.exec import load_image, static_image
from kernelsim.mm.space.mm_registry import MmRegistry
from kernelsim.mm.space.mmap import MappedFile
from kernelsim.mm.space.signal_msg import general_protection_line, segfault_line
from tests.commit_account import commit_account


@pytest.mark.parametrize(
    ("address", "write", "code"),
    [(0xDEAD000, False, 4), (0xDEAD000, True, 6), (0xFFFF_8000_0000_0000, False, 5)],
)
def test_the_line_is_the_kernels(address, write, code):
    """Address, registers, kind of access, the program's mapping, the CPU.

    Of the kernel's addresses all that is told is that they are protected.
    """
    mm = MmRegistry(commit_account(100_000)).mm_alloc(7)
    image = static_image(text_bytes=0x2000, data_bytes=0x1000, bss_bytes=0, start=0x400000)
    assert not load_image(mm, MappedFile("/usr/bin/hog"), image).failed
    line = segfault_line("hog", 7, mm, address, write=write, cpu=3, nid=1)
    head, _, tail = line.partition(" sp ")
    assert head == f"hog[7]: segfault at {address:x} ip 0000000000400000"
    size = mm.map.find_vma(0x400000).end - 0x400000
    assert tail == (
        f"{mm.start_stack:016x} error {code} in hog[400000+{size:x}]"
        " likely on CPU 3 (core 3, socket 1)"
    )
    assert general_protection_line("hog", 7, mm) == (
        f"traps: hog[7] general protection fault ip:400000 sp:{mm.start_stack:x} error:0"
        f" in hog[400000+{size:x}]"
    )
