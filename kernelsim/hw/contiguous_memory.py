"""Memory that is given out in whole pieces, as segments need it: first fit, holes that merge.

Interface: `ContiguousMemory`.
Units: bytes.
"""

from collections.abc import Mapping

import attrs


@attrs.frozen
class Piece:
    """A stretch of memory; `name` is that of who has it, "" for a hole."""

    start: int
    size: int
    name: str = ""


class ContiguousMemory:
    """Physical memory without pages.

    Args:
        size: Of all of it.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._taken: list[Piece] = []  # by start

    def place(self, name: str, size: int) -> int:
        """Give a piece in the first hole that is large enough; return its start, -1 if none is."""
        assert size > 0, "a piece has bytes"
        hole = next((each for each in self.holes() if each.size >= size), None)
        if hole is None:
            return -1
        self._taken.append(Piece(hole.start, size, name))
        self._taken.sort(key=lambda piece: piece.start)
        return hole.start

    def free(self, start: int) -> None:
        """Take back the piece that begins there."""
        kept = [piece for piece in self._taken if piece.start != start]
        assert len(kept) == len(self._taken) - 1, f"nobody has a piece at {start:#x}"
        self._taken = kept

    def holes(self) -> list[Piece]:
        """Return what nobody has, by start."""
        found, at = list[Piece](), 0
        for piece in [*self._taken, Piece(self.size, 0)]:
            if piece.start > at:
                found.append(Piece(at, piece.start - at))
            at = piece.start + piece.size
        return found

    def pieces(self) -> list[Piece]:
        """Return all of memory, holes included, by start."""
        return sorted(self._taken + self.holes(), key=lambda piece: piece.start)

    def free_bytes(self) -> Mapping[str, int]:
        """Return how much is free in all, and in the largest hole."""
        sizes = [hole.size for hole in self.holes()]
        return {"all": sum(sizes), "largest": max(sizes, default=0)}
