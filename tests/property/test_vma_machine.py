"""The VMA map and brk against the simplest model there is: a dictionary page → flags."""

from itertools import pairwise

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from kernelsim.mm.space.brk import set_brk
from kernelsim.mm.space.mm_registry import MmRegistry
from kernelsim.mm.space.mm_struct import MmStruct
from kernelsim.mm.space.mmap import MMAP_MIN_ADDR
from kernelsim.mm.space.vm_flags import (
    MAP_FIXED,
    MAP_PRIVATE,
    PROT_NONE,
    PROT_READ,
    PROT_WRITE,
    VmFlag,
)
from kernelsim.units import PAGE_SIZE
from tests.commit_account import commit_account

LOW = MMAP_MIN_ADDR // PAGE_SIZE  # first page that may be mapped
NR_PAGES = 40
TOP = LOW + NR_PAGES
BRK_START = LOW + 8

page_numbers = st.integers(LOW, TOP - 1)
lengths = st.integers(1, 12)
prots = st.sampled_from([PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE])


class VmaMachine(RuleBasedStateMachine):
    """Maps, unmaps and moves the heap's end in 40 pages."""

    def __init__(self) -> None:
        super().__init__()
        self.commit = commit_account(1 << 20)
        self.mm: MmStruct = MmRegistry(self.commit).mm_alloc(1)
        self.prot_of: dict[int, int] = {}
        self.promised: set[int] = set()

    @initialize()
    def lay_out(self) -> None:
        """Let mappings go below page TOP, and start the heap at BRK_START."""
        self.mm.mmap_base = TOP * PAGE_SIZE
        self.mm.start_brk = self.mm.brk = BRK_START * PAGE_SIZE

    def put(self, first: int, nr: int, prot: int) -> None:
        """Map pages in the model."""
        self.drop(first, nr)
        for page in range(first, first + nr):
            self.prot_of[page] = prot
            if prot & PROT_WRITE:
                self.promised.add(page)

    def drop(self, first: int, nr: int) -> list[int]:
        """Unmap pages in the model; return those that were mapped."""
        gone = [page for page in range(first, first + nr) if page in self.prot_of]
        for page in gone:
            del self.prot_of[page]
            self.promised.discard(page)
        return gone

    def highest_hole(self, nr: int) -> int | None:
        """Find where `nr` pages fit, the highest place."""
        for first in range(TOP - nr, LOW - 1, -1):
            if not any(page in self.prot_of for page in range(first, first + nr)):
                return first
        return None

    @rule(nr=lengths, prot=prots)
    def mmap(self, nr: int, prot: int) -> None:
        """A mapping goes to the highest hole it fits in."""
        expected = self.highest_hole(nr)
        result = self.mm.mmap(nr * PAGE_SIZE, prot).result
        if expected is None:
            assert result > TOP * PAGE_SIZE, "no room below: placed bottom-up, far above"
            self.mm.munmap(result, nr * PAGE_SIZE)
        else:
            assert result == expected * PAGE_SIZE
            self.put(expected, nr, prot)

    @rule(first=page_numbers, nr=lengths, prot=prots)
    def mmap_hint(self, first: int, nr: int, prot: int) -> None:
        """A hint is taken if all its pages are free, else ignored."""
        if any(page in self.prot_of for page in range(first, first + nr)):
            return
        result = self.mm.mmap(nr * PAGE_SIZE, prot, address=first * PAGE_SIZE + 5).result
        assert result == first * PAGE_SIZE
        self.put(first, nr, prot)

    @rule(first=page_numbers, nr=lengths, prot=prots)
    def mmap_fixed(self, first: int, nr: int, prot: int) -> None:
        """MAP_FIXED replaces what is there and reports it."""
        change = self.mm.mmap(
            nr * PAGE_SIZE, prot, MAP_PRIVATE | MAP_FIXED, address=first * PAGE_SIZE
        )
        assert change.result == first * PAGE_SIZE
        assert self.pages_of(change.unmapped) == self.drop(first, nr)
        self.put(first, nr, prot)

    @rule(first=page_numbers, nr=lengths)
    def munmap(self, first: int, nr: int) -> None:
        """Exactly the mapped pages of the range go; the bounds enclose it and nothing mapped."""
        change = self.mm.munmap(first * PAGE_SIZE, nr * PAGE_SIZE)
        assert self.pages_of(change.unmapped) == self.drop(first, nr)
        assert change.floor <= first * PAGE_SIZE
        assert change.ceiling >= (first + nr) * PAGE_SIZE
        inside = range(change.floor // PAGE_SIZE, min(change.ceiling // PAGE_SIZE, 2 * TOP))
        assert not any(page in self.prot_of for page in inside)

    @rule(end=st.integers(BRK_START - 1, TOP), extra=st.integers(0, PAGE_SIZE - 1))
    def brk(self, end: int, extra: int) -> None:
        """The heap grows only into free pages with one page more free behind them.

        It does not shrink where nothing is mapped.
        """
        old = self.mm.brk
        brk = end * PAGE_SIZE + extra
        first, last = -(-old // PAGE_SIZE), -(-brk // PAGE_SIZE)
        free = not any(page in self.prot_of for page in range(first, last + 1))
        change = set_brk(self.mm, brk)
        is_gone = not any(page in self.prot_of for page in range(last, first))
        if brk < self.mm.start_brk or (last > first and not free) or (last < first and is_gone):
            assert change.result == self.mm.brk == old
            return
        assert change.result == self.mm.brk == brk
        if last > first:
            self.put(first, last - first, PROT_READ | PROT_WRITE)
        else:
            assert self.pages_of(change.unmapped) == self.drop(last, first - last)

    def pages_of(self, pieces: tuple) -> list[int]:
        """Return the pages of some pieces."""
        return [page for vma in pieces for page in range(vma.vpn, vma.vpn + vma.nr_pages)]

    @invariant()
    def same_pages_with_the_same_permissions(self) -> None:
        """Every page is mapped as in the model, and sums agree."""
        prot_of = {
            page: int(vma.flags & (VmFlag.VM_READ | VmFlag.VM_WRITE))
            for vma in self.mm.map
            for page in range(vma.vpn, vma.vpn + vma.nr_pages)
        }
        assert prot_of == self.prot_of
        promised = {page for vma in self.mm.map if vma.flags & VmFlag.VM_ACCOUNT for page in
                    range(vma.vpn, vma.vpn + vma.nr_pages)}  # fmt: skip
        assert promised == self.promised
        assert self.commit.committed_pages == len(promised)
        assert self.mm.total_vm == len(prot_of)
        assert self.mm.data_vm == sum(prot & PROT_WRITE != 0 for prot in prot_of.values())

    @invariant()
    def as_few_mappings_as_possible(self) -> None:
        """Neighbours that could be one are one; mappings are sorted and found by address.

        What brk adds does not become one with the mapping above it.
        """
        areas = list(self.mm.map)
        assert self.mm.map.starts == [vma.start for vma in areas]
        for before, after in pairwise(areas):
            assert before.end <= after.start
            by_brk = self.mm.start_brk < before.end <= TOP * PAGE_SIZE
            assert by_brk or not before.merges_with(after)
        for vma in areas:
            assert self.mm.map.find_vma(vma.end - 1) == vma


TestVmaMachine = VmaMachine.TestCase
