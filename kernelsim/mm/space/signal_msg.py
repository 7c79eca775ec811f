"""What the kernel log says when a process touches an address that is not its own.

Linux: arch/x86/mm/fault.c:show_signal_msg, :__bad_area_nosemaphore, 6.1.
Differs: The kernel log shows no machine code at a segfault. The instruction it names is the first
of the program, its stack pointer the top of the stack at the start: neither register is simulated.
"""

from kernelsim.mm.space.mm_struct import MmStruct

X86_PF_WRITE = 2  # bits of an exception's error code; arch/x86/include/asm/trap_pf.h
X86_PF_USER = 4


def segfault_line(
    comm: str, pid: int, mm: MmStruct, address: int, *, write: bool, cpu: int, nid: int
) -> str:
    """Return the line of a segfault.

    Args:
        comm: Name of the process.
        pid: Its number.
        mm: Its address space.
        address: What it touched.
        write: Whether by a store.
        cpu: Number of the CPU it ran on.
        nid: That CPU's node, which stands for its socket.

    Source: Linux 6.1 arch/x86/mm/fault.c:show_signal_msg, mm/memory.c:print_vma_addr
    """
    code = X86_PF_USER | (X86_PF_WRITE if write else 0)
    text = mm.map.find_vma(mm.start_code)
    place = ""
    if text is not None and text.file is not None and text.start <= mm.start_code:
        name = text.file.path.rpartition("/")[2]
        place = f" in {name}[{text.start:x}+{text.end - text.start:x}]"
    return (
        f"{comm}[{pid}]: segfault at {address:x} ip {mm.start_code:016x} sp {mm.start_stack:016x} "
        f"error {code:x}{place} likely on CPU {cpu} (core {cpu}, socket {nid})"
    )
