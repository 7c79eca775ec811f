"""What a checker counts as reclaimed."""

import numpy as np

from kernelsim.check.aging import Judgement
from kernelsim.mm.core.mem import (
    PG_activating,
    PG_active,
    PG_isolated,
    PG_lru,
    PG_swapbacked,
    PG_unevictable,
)
from tests.small_machine import run, small_machine


def test_a_page_without_a_user_left_is_freed_not_reclaimed():
    """Of four pages that leave a batch one was anonymous, one a file's; two were nobody's."""

    async def main(machine):
        pfns = np.array([900, 901, 902, 903])
        flags = machine.mem.pages.flags
        before = flags[pfns].copy()
        flags[pfns] = [
            PG_isolated | PG_swapbacked,
            PG_isolated | 8,
            PG_isolated,
            PG_isolated | PG_activating,
        ]
        judgement = Judgement(machine.kernel, pfns)
        flags[pfns] = 0
        stolen = judgement.stolen().tolist()
        flags[pfns] = before
        return stolen

    assert run(small_machine(memory="16M"), main).result == [1, 1]


def test_a_page_that_was_locked_meanwhile_is_not_deactivated():
    """It goes to the unevictable list, whatever it was; of two active pages one is judged."""

    async def main(machine):
        pfns, flags = np.array([900, 901]), machine.mem.pages.flags
        before = flags[pfns].copy()
        flags[pfns] = PG_isolated | PG_swapbacked | PG_active
        judgement = Judgement(machine.kernel, pfns)
        flags[pfns] = [PG_lru | PG_swapbacked, PG_lru | PG_swapbacked | PG_unevictable]
        moved = judgement.moved()
        flags[pfns] = before
        return moved

    assert run(small_machine(memory="16M"), main).result == (0, 1)
