"""What is written of a recorded program while it runs: its mappings, its sizes, its smaps.

Interface: `Reporter`, one for each process of a program.
Units: pages where the format has pages, kB in smaps.
"""

from typing import Final

import attrs

from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.core.process_table import ProcessEntry
from kernelsim.oracle.vmaprog_program import Places
from kernelsim.procfs.capture_process import capture_process
from kernelsim.procfs.process import status_memory_kb
from kernelsim.procfs.snapshot import MemoryUsage, ProcessSnapshot, VmaSnapshot
from kernelsim.units import KIB, PAGE_SHIFT

REGIONS: Final = "WTBSX"
OBJECTS: Final = {"/dev/zero (deleted)": "z"}  # every other is the program's file
PAGE_KB: Final = 4
# Fields of smaps in the kernel's order, and what they are called here
USAGE: Final = (
    ("Rss", "rss"),
    ("Pss", "pss"),
    ("Pss_Dirty", "pss_dirty"),
    ("Shared_Clean", "shared_clean"),
    ("Shared_Dirty", "shared_dirty"),
    ("Private_Clean", "private_clean"),
    ("Private_Dirty", "private_dirty"),
    ("Referenced", "referenced"),
    ("Anonymous", "anonymous"),
    ("LazyFree", "lazyfree"),
    ("Swap", "swap"),
    ("SwapPss", "swap_pss"),
    ("Locked", "locked"),
)


@attrs.frozen
class Sizes:
    """What /proc/PID/status says of sizes, in pages; `pte` in kB; `commit` is the machine's."""

    size: int
    data: int
    stk: int
    exe: int
    lck: int
    pte: int
    commit: int


class Reporter:
    """Writes of one process.

    Args:
        kernel: The machine.
        entry: The process.
        places: What addresses count from.
        prefix: "C " for a child.
    """

    def __init__(
        self, kernel: Kernel, entry: ProcessEntry, places: Places, prefix: str = ""
    ) -> None:
        self._kernel = kernel
        self._entry = entry
        self._places = places
        self._prefix = prefix
        self._shown = dict.fromkeys(REGIONS, "")
        self.base = self.sizes()

    def for_child(self, entry: ProcessEntry, *, shares_vm: bool) -> "Reporter":
        """Return the reporter of a child, to which the same has been shown.

        One in the same address space shares the memory of what was shown, too.
        """
        child = Reporter(self._kernel, entry, self._places, "C ")
        child._shown, child.base = self._shown, self.base
        if not shares_vm:
            child._shown = dict(self._shown)
        return child

    def sizes(self) -> Sizes:
        """Return the sizes as they are."""
        status = status_memory_kb(self._capture(usage=False))
        pages = {name: status[f"Vm{name}"] // PAGE_KB for name in ("Size", "Data", "Stk", "Lck")}
        return Sizes(
            size=pages["Size"],
            data=pages["Data"],
            stk=pages["Stk"],
            exe=(status["VmExe"] + status["VmLib"]) // PAGE_KB,
            lck=pages["Lck"],
            pte=status["VmPTE"],
            commit=self._kernel.mms.commit.committed_pages,
        )

    def vm_line(self) -> str:
        """Return sizes against those of the start."""
        now, base = self.sizes(), self.base
        return (
            f"size={now.size - base.size:+d} data={now.data - base.data:+d} "
            f"stk={now.stk - base.stk:+d} exe={now.exe - base.exe:+d} lck={now.lck} "
            f"pte={now.pte - base.pte:+d} commit={now.commit - base.commit:+d}"
        )

    def statm_line(self) -> str:
        """Return what statm says, without its resident pages, which lag."""
        now, base = self.sizes(), self.base
        process = self._capture(usage=False)
        text = -(-process.text_bytes >> PAGE_SHIFT)
        data = now.data + now.stk - base.data - base.stk
        return f"size={now.size - base.size:+d} text={text} data={data:+d}"

    def oom_score(self) -> int:
        """Return what /proc/PID/oom_score says."""
        return self._capture(usage=False).oom_score

    def changes(self) -> list[str]:
        """Return a line for each region whose mappings are not what was shown last."""
        found = dict.fromkeys(REGIONS, "")
        for vma in self._vmas(usage=False):
            region, text = self._text_of(vma)
            found[region] = f"{found[region]} {text}".lstrip()
        lines = [
            f" {self._prefix}{region} {found[region] or 'none'}"
            for region in REGIONS
            if found[region] != self._shown[region]
        ]
        self._shown.update(found)
        return lines

    def smaps(self) -> list[str]:
        """Return a line for each mapping but the stack."""
        lines = []
        for vma in self._vmas(usage=True):
            region, text = self._text_of(vma)
            if region != "S":
                words = [*_usage_words(vma.usage), "|", *vma.vm_flags]
                lines.append(f" {self._prefix}{region} {text} {' '.join(words)}")
        return lines

    def end(self) -> list[str]:
        """Return the report at the end."""
        return [f"end {self._prefix}{self.vm_line()}", *self.smaps()]

    def _capture(self, *, usage: bool) -> ProcessSnapshot:
        return capture_process(self._kernel, self._entry, usage=usage)

    def _vmas(self, *, usage: bool) -> list[VmaSnapshot]:
        """Return the mappings but for the process's own text, data and vDSO."""
        own = (self._entry.program.path, "[vvar]", "[vdso]")
        return [vma for vma in self._capture(usage=usage).vmas if vma.name not in own]

    def _text_of(self, vma: VmaSnapshot) -> tuple[str, str]:
        region = self._places.region(vma.start)
        base = self._places.base(region)
        if region == "X":
            where = f"{vma.start:#x}..{vma.end:#x}"
        else:
            where = f"{(vma.start - base) >> PAGE_SHIFT}..{(vma.end - base) >> PAGE_SHIFT}"
        offset = vma.offset >> PAGE_SHIFT
        if vma.inode:
            shown = f"@{OBJECTS.get(vma.name, 'f')}{offset}"
        else:
            shown = f"@{offset}" if offset else ""
        return region, f"{where}:{vma.flags}{shown}"


def _usage_words(usage: MemoryUsage) -> list[str]:
    values = ((name, int(getattr(usage, field)) // KIB) for name, field in USAGE)
    return [f"{name}={kb}" for name, kb in values if kb]
