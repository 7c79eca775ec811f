"""What the kernel log says when a process touches an address that is not its own.

Linux: arch/x86/mm/fault.c:show_signal_msg; arch/x86/kernel/traps.c:show_signal, 6.1.
Differs: The kernel log shows no machine code at a segfault. The instruction it names is the first
of the program, its stack pointer the top of the stack at the start: neither register is simulated.
"""

from kernelsim.mm.space.mm_struct import MmStruct

X86_PF_PROT = 1  # bits of an exception's error code; arch/x86/include/asm/trap_pf.h
X86_PF_WRITE = 2
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

    Source: Linux 6.1 arch/x86/mm/fault.c:show_signal_msg, :__bad_area_nosemaphore
    """
    code = X86_PF_USER | (X86_PF_WRITE if write else 0)
    if address >= mm.map.task_size:  # nothing is told of what the kernel has mapped there
        code |= X86_PF_PROT
    return (
        f"{comm}[{pid}]: segfault at {address:x} ip {mm.start_code:016x} sp {mm.start_stack:016x} "
        f"error {code:x}{_vma_addr(mm)} likely on CPU {cpu} (core {cpu}, socket {nid})"
    )


def general_protection_line(comm: str, pid: int, mm: MmStruct) -> str:
    """Return the line of a process that used an address that is not canonical.

    Source: Linux 6.1 arch/x86/kernel/traps.c:gp_user_force_sig_segv, :show_signal
    """
    return (
        f"traps: {comm}[{pid}] general protection fault ip:{mm.start_code:x} "
        f"sp:{mm.start_stack:x} error:0{_vma_addr(mm)}"
    )


def _vma_addr(mm: MmStruct) -> str:
    """Return the mapping that the program runs in.

    Source: Linux 6.1 mm/memory.c:print_vma_addr
    """
    text = mm.map.find_vma(mm.start_code)
    if text is None or text.file is None or text.start > mm.start_code:
        return ""
    name = text.file.path.rpartition("/")[2]
    return f" in {name}[{text.start:x}+{text.end - text.start:x}]"
