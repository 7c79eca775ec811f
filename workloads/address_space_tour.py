"""A walk through the whole address space: user half, canonical hole, kernel half.

A program touches an address on each side of each border. Inside its mappings the processor finds a
frame; elsewhere in its half, and in the kernel's, there is a page fault that ends in SIGSEGV; in
the hole the processor takes the address for none and raises #GP, which the log tells apart.
"""

from kernelsim.workload import MachineHandle, workload
from kernelsim.workload.syscall import MappedRange

PAGE = 4096
SIGSEGV = 11
SEGFAULT, TRAP = "segfault at", "general protection"
BORDERS = (  # address, what the log says of a touch
    (0x7FFF_FFFF_EFFF, SEGFAULT),  # the last that a process may map
    (0x7FFF_FFFF_F000, SEGFAULT),  # one page of the user's half is never used
    (0x7FFF_FFFF_FFFF, SEGFAULT),
    (0x8000_0000_0000, TRAP),
    (0xFFFF_7FFF_FFFF_FFFF, TRAP),
    (0xFFFF_8000_0000_0000, SEGFAULT),
    (0xFFFF_FFFF_FFFF_FFFF, SEGFAULT),
)


def said(text: str, word: str) -> str:
    """Return what one line of an explanation says; "" if there is none of that name."""
    found = [line for line in text.splitlines() if line.startswith(f"{word} ")]
    return found[0].removeprefix(word).strip() if found else ""


async def tour_kernel(machine: MachineHandle) -> None:
    """Say what each region of the kernel's half is, at its first address."""
    process = await machine.spawn("reader")
    for region in machine.kernel_layout.regions:
        text = process.explain(region.start)
        end = said(text, "outcome") or said(text, "frame")
        machine.note(f"{region.start:#x} {region.name}: {end}")
        machine.expect(region.name in said(text, "region"), "each region is found again")
    await process.exit()


@workload(machine="tiny-64m")
async def main(machine: MachineHandle) -> None:
    """Look at a page of the user's half, at both sides of each border, and at the kernel's half."""
    process = await machine.spawn("reader")
    region = await process.mmap(PAGE)
    machine.expect("nothing is there yet" in process.explain(region.address), "not touched yet")
    await process.touch(region, write=True)
    walk = process.explain(region.address + 0x123)
    machine.note(walk.rstrip())
    entries = [said(walk, name) for name in ("PGD", "PUD", "PMD", "PTE")]
    machine.expect(all("present" in entry for entry in entries), "four entries are read")
    machine.expect(said(walk, "frame").endswith("123"), "they lead to a frame")
    await process.exit()
    for address, expected in BORDERS:
        program = await machine.spawn("careless")
        canonical = said(program.explain(address), "canonical").partition(":")[0]
        result = await program.touch(MappedRange(address, 1))
        line = machine.dmesg.splitlines()[-1].partition("] ")[2]
        machine.note(f"{address:#x} canonical: {canonical}; {line.partition(' ip')[0]}")
        machine.expect(result.signal == SIGSEGV, "a program may touch none of them")
        machine.expect(expected in line, "the hole is #GP, all else #PF")
        machine.expect(canonical.startswith("no") == (expected == TRAP), "bits 63 to 47 alike")
    await tour_kernel(machine)
