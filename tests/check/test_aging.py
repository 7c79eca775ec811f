"""What a checker counts as reclaimed."""

import numpy as np

from kernelsim.check.aging import Judgement
from kernelsim.mm.core.mem import PG_activating, PG_isolated, PG_swapbacked
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
