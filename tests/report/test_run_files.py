"""Tests of what a run writes while it goes on."""

import sys

import pytest

from kernelsim.report.run_files import show_line


class Pipe:
    """A stdout that refuses what is written."""

    def __init__(self, error: OSError) -> None:
        self.error = error

    def write(self, _text: str) -> int:
        """Refuse."""
        raise self.error


def test_a_reader_that_went_away_does_not_end_a_run(monkeypatch):
    """`kernelsim run … | head` leaves a whole run behind; a full disk is an error still."""
    monkeypatch.setattr(sys, "stdout", Pipe(BrokenPipeError()))
    show_line("step 1")
    monkeypatch.setattr(sys, "stdout", Pipe(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        show_line("step 1")
