"""What is left of a migration that nobody ends, planted in a machine, is reported."""

from collections.abc import Callable

import numpy as np
import pytest

from kernelsim.check.machine import check_machine
from kernelsim.mm.core.mem import PG_isolated
from kernelsim.mm.space.pgtable import PT_BITS, make_migration_pte, pte_at, pte_pfn, pte_span
from tests.small_machine import OpenMachine, run, small_machine


def entry_is_left(machine: OpenMachine, row: int, index: int, pfn: int) -> None:
    """Leave a migration entry behind."""
    entry = machine.kernel.pool.pt.entry
    pte = make_migration_pte(int(entry[row, index].view(np.int64)))
    entry[row, index] = np.int64(pte).view(np.uint64)


def page_is_left(machine: OpenMachine, row: int, index: int, pfn: int) -> None:
    """Leave a page behind for which others may wait."""
    machine.kernel.migrations[pfn] = machine.engine.wait_queue("migration entry")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (entry_is_left, ["which nobody moves"]),
        (page_is_left, ["moved and on its list", "nobody holds device_hotplug_lock"]),
    ],
)
def test_what_is_left_is_told(spoil: Callable[..., None], told: list[str]) -> None:
    """The entry, the page, and that nobody is at work."""

    async def main(machine: OpenMachine) -> list[str]:
        process = await machine.spawn("user")
        region = await process.mmap("4K")
        await process.touch(region, write=True)
        space, vpn = machine.kernel.space, region.address >> 12
        mm = machine.kernel.processes[process.pid].mm.number
        row, _ = pte_span(*space, mm, vpn)
        pfn = pte_pfn(pte_at(*space, mm, vpn))
        assert not machine.mem.pages.flags[pfn] & PG_isolated
        spoil(machine, row, vpn & ((1 << int(space[1].state[PT_BITS])) - 1), pfn)
        found = check_machine(machine.kernel)
        return [line for line in found if "move" in line]

    lines = run(small_machine(), main, sound=False).result
    assert len(lines) == len(told)
    assert all(each in line for each, line in zip(told, lines, strict=True))
