"""Which type of pages to evict, and which tiers: by what comes back of those evicted.

Linux: mm/vmscan.c: read_ctrl_pos, reset_ctrl_pos, positive_ctrl_err, get_tier_idx,
get_type_to_scan, 6.1.
A feedback loop, as Linux's comment on its PID controller has it: the set point is the rate of
refaults of one type or tier, the process variable that of another. What refaults no more than the
set point is evicted; the rest is spared. The gains weigh them: by swappiness between types, two to
one between tiers. Counts are of the oldest generation, and halves of sums carry over to the next.

Interface: `get_type_to_scan`, `get_tier_idx` before eviction; `reset_ctrl_pos` when a generation
goes.
Units: pages.
"""

from kernelsim.hw.leaf import inlined_leaf, leaf
from kernelsim.mm.core.lru_gen import (
    LG_AVG_REFAULTED,
    LG_AVG_TOTAL,
    LG_EVICTED,
    LG_PROTECTED,
    LG_REFAULTED,
    LRU_GEN_ANON,
    LRU_GEN_FILE,
    MAX_NR_TIERS,
    MIN_LRU_BATCH,
)
from kernelsim.mm.core.mem import I64


@inlined_leaf
def nr_refaulted(state: I64, file: int, tier: int) -> int:
    """Return how many pages of a tier came back, on the average."""
    at = file * MAX_NR_TIERS + tier
    return int(state[LG_AVG_REFAULTED + at] + state[LG_REFAULTED + at])


@inlined_leaf
def nr_judged(state: I64, file: int, tier: int) -> int:
    """Return how many pages of a tier were evicted or spared, on the average."""
    at = file * MAX_NR_TIERS + tier
    return int(state[LG_AVG_TOTAL + at] + state[LG_EVICTED + at] + state[LG_PROTECTED + at])


@inlined_leaf
def positive_ctrl_err(
    state: I64, file: int, gain: int, pv_file: int, pv_tier: int, pv_gain: int
) -> bool:
    """Tell whether a tier refaults no more than the first tier of a type, or hardly at all.

    Args:
        state: What is kept of the node's generations.
        file: The type whose first tier is the set point.
        gain: Its weight.
        pv_file: The type of the tier that is compared with it.
        pv_tier: The tier.
        pv_gain: Its weight.

    Source: Linux 6.1 mm/vmscan.c:positive_ctrl_err
    """
    refaulted = nr_refaulted(state, pv_file, pv_tier)
    if refaulted < MIN_LRU_BATCH:
        return True
    set_point = (nr_refaulted(state, file, 0) + 1) * nr_judged(state, pv_file, pv_tier) * pv_gain
    return refaulted * (nr_judged(state, file, 0) + MIN_LRU_BATCH) * gain <= set_point


@inlined_leaf
def last_tier(state: I64, file: int, gain: int, pv_file: int, pv_gain: int) -> int:
    """Return the last tier of a type, from the first on, that refaults no more than a set point."""
    tier = 1
    while tier < MAX_NR_TIERS:
        if not positive_ctrl_err(state, file, gain, pv_file, tier, pv_gain):
            break
        tier += 1
    return tier - 1


@leaf
def get_tier_idx(state: I64, file: int) -> int:
    """Return the last tier of a type to evict, when that type must be taken.

    Source: Linux 6.1 mm/vmscan.c:get_tier_idx
    """
    return last_tier(state, file, 1, file, 2)


@leaf
def get_type_to_scan(state: I64, swappiness: int) -> tuple[int, int]:
    """Return the type of pages to evict, and its last tier, by what refaults of both.

    Source: Linux 6.1 mm/vmscan.c:get_type_to_scan
    """
    anon_gain, file_gain = swappiness, 200 - swappiness
    if positive_ctrl_err(state, LRU_GEN_ANON, anon_gain, LRU_GEN_FILE, 0, file_gain):
        tier = last_tier(state, LRU_GEN_ANON, anon_gain, LRU_GEN_FILE, file_gain)
        return LRU_GEN_FILE, tier
    tier = last_tier(state, LRU_GEN_FILE, file_gain, LRU_GEN_ANON, anon_gain)
    return LRU_GEN_ANON, tier


@leaf
def reset_ctrl_pos(state: I64, file: int) -> None:
    """Carry over half of what was counted in the oldest generation of a type, which goes.

    Source: Linux 6.1 mm/vmscan.c:reset_ctrl_pos (NR_HIST_GENS is 1)
    """
    for tier in range(MAX_NR_TIERS):
        at = file * MAX_NR_TIERS + tier
        state[LG_AVG_REFAULTED + at] = nr_refaulted(state, file, tier) // 2
        state[LG_AVG_TOTAL + at] = nr_judged(state, file, tier) // 2
        state[LG_REFAULTED + at] = 0
        state[LG_EVICTED + at] = 0
        state[LG_PROTECTED + at] = 0
