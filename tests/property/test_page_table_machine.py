"""Page tables against a dictionary vpn → entry, with the checker looking on."""

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from kernelsim.check.page_tables import check_page_tables
from kernelsim.mm.core.mem import I64, PG_swapcache
from kernelsim.mm.space.memory import map_anon, map_zero
from kernelsim.mm.space.pgtable import (
    _PAGE_SPECIAL,
    free_pgtables,
    install_tables,
    is_swap_pte,
    pte_at,
    pte_pfn,
    pte_swap_slot,
    tables_needed,
)
from kernelsim.mm.space.rmap import try_to_unmap
from kernelsim.mm.space.zap import unmap_range
from tests.table_box import NO_MARKS, TableBox, none_cleared

BORDERS = (0, 512, 1 << 18, 1 << 27, (1 << 35) - 8)
vpns = st.sampled_from(
    [border + step for border in BORDERS for step in range(-4, 8) if border + step >= 0]
)
lengths = st.integers(1, 8)


class PageTableMachine(RuleBasedStateMachine):
    """Maps, unmaps and swaps pages of two address spaces around the borders of tables."""

    def __init__(self) -> None:
        super().__init__()
        self.box = TableBox()
        self.mm = (self.box.new_mm(), self.box.new_mm())
        self.model: dict[tuple[int, int], tuple[str, int, int]] = {}
        self.free = list(range(self.box.next_pfn, 5119))
        self.next_slot = 1
        self.tables: set[int] = set()

    def take(self, nr: int) -> I64:
        """Take free frames."""
        pfns, self.free = self.free[:nr], self.free[nr:]
        return np.array(pfns, np.int64)

    def install(self, mm: int, vpn: int, nr: int) -> None:
        """Build missing tables."""
        needed = tables_needed(*self.box.state, mm, vpn, nr)
        self.box.pool.reserve(needed)
        pfns = self.take(needed)
        assert install_tables(*self.box.state, mm, vpn, nr, pfns, needed) == needed

    @rule(
        which=st.integers(0, 1),
        vpn=vpns,
        nr=lengths,
        stride=st.integers(1, 3),
        token=st.integers(1, 99),
    )
    def write_fault(self, which: int, vpn: int, nr: int, stride: int, token: int) -> None:
        """Anonymous pages go where there is nothing or the zero page, up to the first other."""
        mm = self.mm[which]
        nr = min(nr, -(-((1 << 35) - vpn) // stride))
        self.install(mm, vpn, (nr - 1) * stride + 1)
        places = range(vpn, vpn + nr * stride, stride)
        kinds = [self.model.get((mm, place), ("none", 0, 0))[0] for place in places]
        expected = next((i for i, kind in enumerate(kinds) if kind in ("anon", "swap")), nr)
        pfns = self.take(nr)
        done = map_anon(*self.box.state, mm, vpn, nr, stride, pfns, nr, token)
        assert done == expected
        for place, pfn in zip(places[:done], pfns[:done].tolist(), strict=True):
            self.model[mm, place] = ("anon", pfn, token)
        self.free = pfns[done:].tolist() + self.free

    @rule(which=st.integers(0, 1), vpn=vpns, nr=lengths)
    def read_fault(self, which: int, vpn: int, nr: int) -> None:
        """The zero page goes where there is nothing."""
        mm = self.mm[which]
        nr = min(nr, (1 << 35) - vpn)
        self.install(mm, vpn, nr)
        done = map_zero(*self.box.state, mm, vpn, nr, 1, 1)
        assert done == next((i for i in range(nr) if (mm, vpn + i) in self.model), nr)
        for place in range(vpn, vpn + done):
            self.model[mm, place] = ("zero", 1, 0)

    @precondition(lambda self: any(entry[0] == "anon" for entry in self.model.values()))
    @rule(data=st.data())
    def swap_out(self, data: st.DataObject) -> None:
        """A page becomes a swap entry."""
        anon = sorted(key for key, entry in self.model.items() if entry[0] == "anon")
        key = data.draw(st.sampled_from(anon))
        pfn = self.model[key][1]
        pages = self.box.mem.pages
        pages.flags[pfn] |= PG_swapcache
        pages.private[pfn] = self.next_slot
        assert try_to_unmap(*self.box.state, pfn)
        self.model[key] = ("swap", self.next_slot, 0)
        self.next_slot += 1

    @rule(which=st.integers(0, 1), vpn=vpns, nr=st.integers(1, 1 << 28), room=st.integers(1, 3))
    def unmap(self, which: int, vpn: int, nr: int, room: int) -> None:
        """Pages and slots of the range come back; then its tables go, where nothing else is."""
        mm = self.mm[which]
        end = min(vpn + nr, 1 << 35)
        out_pfns, out_slots = np.zeros(room, np.int64), np.zeros(room, np.int64)
        gone, at, cleared = [], vpn, none_cleared()
        while at < end:
            args = (*self.box.state, mm, at, end - at, *NO_MARKS, out_pfns, out_slots, cleared)
            n, m, _, at = unmap_range(*args)
            gone += [("anon", int(pfn)) for pfn in out_pfns[:n]]
            gone += [("swap", int(slot)) for slot in out_slots[:m]]
        keys = [key for key in self.model if key[0] == mm and vpn <= key[1] < end]
        expected = [self.model.pop(key)[:2] for key in keys]
        assert sorted(gone) == sorted(entry for entry in expected if entry[0] != "zero")
        rest = [place for owner, place in self.model if owner == mm]
        floor = max((place + 1 for place in rest if place < vpn), default=0)
        ceiling = min((place for place in rest if place >= end), default=1 << 35)
        while n := free_pgtables(*self.box.state, mm, floor, ceiling, out_pfns):
            self.free += out_pfns[:n].tolist()
        assert (
            tables_needed(*self.box.state, mm, vpn, 1)
            or floor > vpn & -512
            or (ceiling < (vpn | 511) + 1)
        )

    @invariant()
    def entries_are_those_of_the_model(self) -> None:
        """Every entry of the model is found by a walk, and the checker has nothing to say."""
        for (mm, vpn), (kind, number, token) in self.model.items():
            pte = pte_at(*self.box.state, mm, vpn)
            if kind == "swap":
                assert is_swap_pte(pte)
                assert pte_swap_slot(pte) == number
            else:
                assert pte_pfn(pte) == number
                assert (pte & _PAGE_SPECIAL != 0) == (kind == "zero")
                assert self.box.mem.pages.token[number] == token
        assert check_page_tables(*self.box.state, self.mm) == []

    @invariant()
    def as_many_entries_as_in_the_model(self) -> None:
        """There is no entry the model does not know."""
        counts = self.box.registry.mms.rss[list(self.mm)].sum(axis=0).tolist()
        kinds = [kind for kind, _, _ in self.model.values()]
        assert counts == [0, kinds.count("anon"), kinds.count("swap"), 0]


TestPageTableMachine = PageTableMachine.TestCase
TestPageTableMachine.settings = settings(max_examples=25, stateful_step_count=25)
