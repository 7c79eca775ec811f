"""Invariants of the generations: flags, lists, numbers and counters tell the same story.

Linux: what mm/vmscan.c and include/linux/mm_inline.h keep true between two holds of lru_lock (6.1).
Interface: `check_generations` is part of check_lru; an `Oldest` is made before pages are taken to
be evicted, and asked afterwards.
"""

from typing import Final

import attrs
import numpy as np

from kernelsim.check.tables import cut_short
from kernelsim.mm.core.list import walk_list
from kernelsim.mm.core.lru_gen import (
    GEN_MASK,
    LG_MAX_SEQ,
    LG_MIN_SEQ,
    LG_NR_BATCHED,
    LG_NR_PAGES,
    LISTED_MASK,
    LISTED_SHIFT,
    LRU_GEN_FILE,
    MIN_NR_GENS,
    lru_gen_from_seq,
)
from kernelsim.mm.core.mem import (
    ANON_AND_FILE,
    I32,
    I64,
    I64_2D,
    MAX_NR_GENS,
    MAX_NR_ZONES,
    NR_GEN_LISTS,
    NR_LRU_LISTS,
    Z_TYPE_INDEX,
    Mem,
    PG_active,
    PG_isolated,
    PG_lru,
    PG_swapbacked,
    PG_unevictable,
    gen_list,
    nids_of,
    zones_of,
)

JUDGED: Final = PG_lru | PG_active | PG_unevictable | PG_isolated


@attrs.frozen
class Generations:
    """What was found of them.

    Attributes:
        problems: What is wrong, one line each.
        nr_listed: Pages on their lists.
        by_zone: Pages by LRU_* and zone row, those of the two youngest as active.
    """

    problems: list[str]
    nr_listed: int
    by_zone: I64_2D


def check_generations(mem: Mem, owner: I32) -> Generations:
    """Look at the lists of all generations; entered in `owner`, as `walk_list` does it.

    Checked: each page is on the list that it says, of its own node, zone and type, and flagged so;
    no page says that it is in a generation and is on no list; nr_pages counts them, but for those
    that walks have just moved; each type has as many generations as it may have.
    """
    first = int(gen_list(mem, 0, 0, 0, 0))
    problems = wrong_seqs(mem)
    for number in range(first, len(mem.lists)):
        if mem.lists[number].any():
            code, place = walk_list(mem, number, owner)
            if code:
                problems.append(f"{name_of(number - first)}: broken ({code}) at {place}")
    pfns = np.flatnonzero(owner > first)
    places = np.stack(unpack(owner[pfns].astype(np.int64) - 1 - first))
    problems += misplaced_pages(mem, pfns, places)
    stray = np.flatnonzero((mem.pages.gen & GEN_MASK != 0) & (owner <= first))
    problems += cut_short(f"pfn {pfn} is in a generation and on no list of one" for pfn in stray)
    gens = (mem.pages.gen[pfns].astype(np.int64) & GEN_MASK) - 1
    problems += miscounted(mem, places, gens)
    nids, files = places[0], places[2]
    max_seq = mem.lru_gen[nids, LG_MAX_SEQ]
    is_active = (gens == max_seq % MAX_NR_GENS) | (gens == (max_seq - 1) % MAX_NR_GENS)
    by_zone = np.zeros((NR_LRU_LISTS, len(mem.zone)), np.int64)
    np.add.at(by_zone, (files * 2 + is_active, zones_of(mem, pfns)), 1)
    return Generations(problems, len(pfns), by_zone)


def unpack(numbers: I64) -> tuple[I64, I64, I64, I64]:
    """Return node, generation, type and zone type of lists, counted from the first of node 0."""
    nid, number = np.divmod(numbers, NR_GEN_LISTS)
    gen, number = np.divmod(number, ANON_AND_FILE * MAX_NR_ZONES)
    file, zone_type = np.divmod(number, MAX_NR_ZONES)
    return nid, gen, file, zone_type


def name_of(number: int) -> str:
    """Name a list for people."""
    nid, gen, file, zone_type = (int(part) for part in unpack(np.array(number, np.int64)))
    return f"node {nid} generation {gen} {('anon', 'file')[file]} in zone type {zone_type}"


def wrong_seqs(mem: Mem) -> list[str]:
    """Return the nodes that have too many generations of a type, or too few."""
    return [
        f"node {nid}: generations {state[LG_MIN_SEQ + file]} to {state[LG_MAX_SEQ]} of type {file}"
        for nid, state in enumerate(mem.lru_gen)
        for file in range(ANON_AND_FILE)
        if not MIN_NR_GENS <= state[LG_MAX_SEQ] - state[LG_MIN_SEQ + file] + 1 <= MAX_NR_GENS
    ]


def misplaced_pages(mem: Mem, pfns: I64, places: I64_2D) -> list[str]:
    """Return the pages that are on another list than they say, or flagged otherwise."""
    nids, gens, files, zone_types = places
    flags, gen = mem.pages.flags[pfns], mem.pages.gen[pfns].astype(np.int64)
    zones = zones_of(mem, pfns)
    is_wrong = flags & np.uint32(JUDGED) != np.uint32(PG_lru)
    is_wrong |= (flags & np.uint32(PG_swapbacked) == 0) != (files == LRU_GEN_FILE)
    is_wrong |= (nids_of(mem, pfns) != nids) | (mem.zone[zones, Z_TYPE_INDEX] != zone_types)
    is_wrong |= (gen & GEN_MASK == 0) | (gen & GEN_MASK > MAX_NR_GENS)
    is_wrong |= (gen & LISTED_MASK) >> LISTED_SHIFT != gens
    return list(
        cut_short(
            f"pfn {pfns[i]} is on a list of generation {gens[i]} with flags {flags[i]:#x} and "
            f"generation bits {gen[i]:#x}"
            for i in np.flatnonzero(is_wrong)
        )
    )


def miscounted(mem: Mem, places: I64_2D, gens: I64) -> list[str]:
    """Return the counters of nodes, of which no walk has pages in hand, that are wrong."""
    nids, _, files, zone_types = places
    found = np.zeros((len(mem.lru_gen), NR_GEN_LISTS), np.int64)
    columns = (gens * ANON_AND_FILE + files) * MAX_NR_ZONES + zone_types
    is_valid = (gens >= 0) & (gens < MAX_NR_GENS)  # others are told of as misplaced
    np.add.at(found, (nids[is_valid], columns[is_valid]), 1)
    is_settled = mem.lru_gen[:, LG_NR_BATCHED] == 0
    wrong = (mem.lru_gen[:, LG_NR_PAGES:] != found) & is_settled[:, None]
    return [
        f"{name_of(nid * NR_GEN_LISTS + column)}: nr_pages is "
        f"{mem.lru_gen[nid, LG_NR_PAGES + column]}, found {found[nid, column]}"
        for nid, column in np.argwhere(wrong).tolist()
    ]


class Oldest:
    """The oldest generations of a node before pages are taken from them.

    Args:
        mem: Physical memory.
        nid: The node.
    """

    def __init__(self, mem: Mem, nid: int) -> None:
        self._nid = nid
        self._gen = mem.pages.gen.copy()
        self._of_type = [
            lru_gen_from_seq(int(seq)) for seq in mem.lru_gen[nid, LG_MIN_SEQ : LG_MIN_SEQ + 2]
        ]

    def outcome(self, file: int, pfns: I64) -> str:
        """Say whether a page was taken that was used since, and belongs to a younger one."""
        gens = (self._gen[pfns].astype(np.int64) & GEN_MASK) - 1
        wrong = pfns[gens != self._of_type[file]]
        if not len(wrong):
            return ""
        return f"node {self._nid}: pfn {wrong[0]} was taken and is not of the oldest generation"
