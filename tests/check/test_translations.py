"""What a TLB may still hold of a frame that goes back to its node."""

import numpy as np
import pytest

from kernelsim.check import translations
from kernelsim.check.tables import walk_tables
from kernelsim.check.translations import Frames
from kernelsim.hw.tlb import TLB_PFN_SHIFT
from kernelsim.mm.space.pgtable import pte_at, pte_pfn
from tests.small_machine import PAGE, OpenMachine, run, small_machine

pytestmark = pytest.mark.mission("B3")


@pytest.mark.parametrize("is_copied", [False, True])
def test_an_entry_that_leads_elsewhere_by_now_is_no_finding(monkeypatch, is_copied):
    """Who copied a shared page and then unmaps the copy has no translation of the old frame."""

    async def main(machine: OpenMachine) -> list[str]:
        kernel = machine.kernel
        user = await machine.spawn("user", cpu=0)
        area = await user.mmap(PAGE)
        await user.touch(area, write=True)
        number = user._process.mm.number
        pfn = pte_pfn(pte_at(*kernel.space, number, area.address // PAGE))
        frames = Frames(kernel)
        frames.note(walk_tables(*kernel.space, [number]))
        monkeypatch.setattr(translations, "uses", lambda *_: True)
        monkeypatch.setattr(translations, "pte_at", lambda *_: 0)
        if is_copied:
            entry = kernel.burst.tlb_entry
            entry[entry >> TLB_PFN_SHIFT == pfn] += 1 << TLB_PFN_SHIFT
        return list(frames.give_back(np.array([pfn])))

    found = run(small_machine(), main, sound=False).result
    assert len(found) == (0 if is_copied else 1)
    assert is_copied or "and the TLB of cpu0 still has vpn" in found[0]
