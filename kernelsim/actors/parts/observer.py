"""Observers of what processes are told of their stores, and of which requests get pages.

A checker keeps a record of its own from them and compares the machine with that.
Unless checking is on the observer does nothing; it never changes a thing or takes virtual time.
Interface: `Kernel.observe` seats one; each call says what has just happened.
Units: pages, virtual page numbers.
"""

from typing import Protocol

from kernelsim.actors.messages.node import AllocPages
from kernelsim.mm.page.alloc_context import AllocContext
from kernelsim.mm.space.mm_struct import MmStruct


class Asker(Protocol):
    """A task that asks for pages, as far as its rights to the reserves go."""

    @property
    def name(self) -> str:
        """Its name in the log."""
        ...

    @property
    def memalloc(self) -> bool:
        """Whether it reclaims, and may use all reserves."""
        ...

    @property
    def killed(self) -> bool:
        """Whether it is being killed, and may use half of them."""
        ...


class Observer:
    """Listens to nothing: what a machine has unless told otherwise. A checker overrides it all."""

    def begins(self, pid: int, mm: MmStruct, operation: object) -> None:
        """Hear that a process begins what its program asked for."""

    def ends(self, pid: int, operation: object, result: object, token: int) -> None:
        """Hear what a program that lives on is answered, and which token its stores left."""

    def stored(self, pid: int, vpn: int, nr: int, stride: int, token: int) -> None:
        """Hear that the CPU did `nr` stores from `vpn` on, `stride` pages from each other."""

    def faulting(self, pid: int, vpn: int, token: int, *, write: bool) -> None:
        """Hear that a process has faulted on a page; a store that waits would leave the token."""

    def served(self, pid: int, nr: int) -> None:
        """Hear that the fault is served, and whether the access is done: 1, or 0."""

    def asks(
        self,
        task: Asker,
        context: AllocContext,
        zone: int,
        mark: int,
        alloc_flags: int,
        floor: int,
    ) -> None:
        """Hear down to how many free pages of a zone a request means to go."""

    def granted(self, request: AllocPages, nr: int, nr_refills: int) -> None:
        """Hear what a request was granted, before anything else happens to the zone."""
