"""Paging: one to five levels of tables, pages of 4 and 16 KiB, each walk with what it reads.

Source: Intel SDM volume 3A, chapter 4; Arm ARM D8 (granule 16 KiB).
Interface: `PageTable`, one address space of a `PagingMode`; MODES has them by name. The simulated
machine has page tables of its own, compiled, in mm/space/pgtable.py; these are to look at.
Units: bytes for addresses and sizes.
"""

from typing import Final

import attrs

from kernelsim.hw.translation import EXECUTE, GP, PF, READ, WRITE, Step, Translation, refused


@attrs.frozen
class PagingMode:
    """How a processor translates.

    Attributes:
        tables: Names of the levels, the top first.
        bits: Address bits that each level translates.
        page_bits: Address bits within a page.
        entry_bytes: Size of an entry.
        is_canonical: The bits above must all be like the highest translated one.
    """

    tables: tuple[str, ...]
    bits: tuple[int, ...]
    page_bits: int = 12
    entry_bytes: int = 4
    is_canonical: bool = False

    @property
    def address_bits(self) -> int:
        """Bits of an address that are translated, those within a page included."""
        return sum(self.bits) + self.page_bits

    def table_bytes(self, level: int) -> int:
        """Return the size of one table of a level."""
        return self.entry_bytes << self.bits[level]

    def takes(self, address: int) -> bool:
        """Tell whether the bits of an address above those translated are as they must be."""
        bits = self.address_bits
        if not self.is_canonical:
            return address >> bits == 0
        return address >> bits - 1 in (0, (1 << 65 - bits) - 1)

    def indices(self, address: int) -> tuple[int, ...]:
        """Return the index of an address in the table of each level."""
        shift, found = self.address_bits, list[int]()
        for bits in self.bits:
            shift -= bits
            found.append(address >> shift & (1 << bits) - 1)
        return tuple(found)


MODES: Final = {
    "one level": PagingMode(("page table",), (20,)),
    "two levels": PagingMode(("PGD", "PTE"), (10, 10)),
    "PAE": PagingMode(("PGD", "PMD", "PTE"), (2, 9, 9), entry_bytes=8),
    "four levels": PagingMode(
        ("PGD", "PUD", "PMD", "PTE"), (9, 9, 9, 9), entry_bytes=8, is_canonical=True
    ),
    "five levels": PagingMode(
        ("PGD", "P4D", "PUD", "PMD", "PTE"), (9, 9, 9, 9, 9), entry_bytes=8, is_canonical=True
    ),
    "16 KiB pages": PagingMode(("PGD", "PMD", "PTE"), (11, 11, 11), page_bits=14, entry_bytes=8),
}


@attrs.frozen
class Mapping:
    """What an entry of the lowest level says of a page.

    Attributes:
        frame: Number of its page frame.
        writable: It may be stored to.
        user: Programs may use it, not the kernel alone.
        executable: It may be executed.
    """

    frame: int
    writable: bool = True
    user: bool = True
    executable: bool = True


@attrs.define
class _Table:
    address: int
    tables: "dict[int, _Table]" = attrs.field(factory=dict)
    pages: dict[int, Mapping] = attrs.field(factory=dict)


class PageTable:
    """The tables of one address space; a table of a lower level exists if a page in it does.

    Args:
        mode: How the processor translates.
        address: Where tables go, one behind the other.
    """

    def __init__(self, mode: PagingMode, address: int = 0) -> None:
        self.mode = mode
        self._next = address
        self.nr_tables = [0] * len(mode.bits)
        self._top = self._new_table(0)

    @property
    def nr_bytes(self) -> int:
        """Memory that the tables take."""
        mode = self.mode
        return sum(nr * mode.table_bytes(level) for level, nr in enumerate(self.nr_tables))

    def _new_table(self, level: int) -> _Table:
        table = _Table(self._next)
        self._next += self.mode.table_bytes(level)
        self.nr_tables[level] += 1
        return table

    def map(self, address: int, mapping: Mapping) -> None:
        """Map the page of an address, with the tables it needs."""
        *upper, last = self.mode.indices(address)
        table = self._top
        for level, index in enumerate(upper, start=1):
            if index not in table.tables:
                table.tables[index] = self._new_table(level)
            table = table.tables[index]
        table.pages[last] = mapping

    def translate(self, address: int, access: str = READ, *, user: bool = True) -> Translation:
        """Walk the tables for an address.

        Args:
            address: A virtual address, below 2**64.
            access: READ, WRITE or EXECUTE.
            user: A program asks, not the kernel.
        """
        mode = self.mode
        if not mode.takes(address):
            return refused(GP, f"{address:#x} is not canonical")
        steps: tuple[Step, ...] = ()
        table: _Table | None = self._top
        for level, index in enumerate(mode.indices(address)):
            if table is None:
                return refused(PF, f"no {mode.tables[level]}", steps)
            at = table.address + index * mode.entry_bytes
            steps += (Step(mode.tables[level], index, at),)
            page, table = table.pages.get(index), table.tables.get(index)
        if page is None:
            return refused(PF, "the page is not present", steps)
        why = forbidden(page, access, user=user)
        if why:
            return refused(PF, why, steps)
        offset = address & (1 << mode.page_bits) - 1
        return Translation((page.frame << mode.page_bits) + offset, steps)


def forbidden(page: Mapping, access: str, *, user: bool) -> str:
    """Return why a page may not be used so; "" if it may."""
    if user and not page.user:
        return "it is the kernel's"
    if access == WRITE and not page.writable:
        return "it may only be read"
    if access == EXECUTE and not page.executable:
        return "it may not be executed"
    return ""
