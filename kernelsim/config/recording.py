"""Where the texts of a recording are: a directory, one file, or what somebody pasted.

Interface: `Recording.of(path)` and `Recording.pasted(text, name=...)`; `get` gives a text to parse.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import attrs

from kernelsim.config.pasted import cleaned, sections
from kernelsim.config.proc_lines import Lines, Source
from kernelsim.errors import RecordingError

__all__ = ["Recording"]


@attrs.frozen
class Recording:
    """The texts of one kernel at one moment."""

    file: str
    """Name for errors: the directory, the file, or what a paste is called."""
    folder: Path | None
    """The directory; None for a single text."""
    texts: Mapping[str, Lines]
    """Texts that were found in a single one, by file name."""

    @classmethod
    def of(cls, path: Path) -> Recording:
        """Return the recording in a directory, or in a file such as a saved zoneinfo.

        Raises RecordingError when there is nothing, or it cannot be read.
        """
        if path.is_dir():
            return cls(str(path), path, {})
        if not path.is_file():
            rule = "must be a directory with the file zoneinfo, or such a file"
            raise RecordingError(str(path), None, rule)
        return cls.pasted("\n".join(Lines.of(path).lines), name=str(path))

    @classmethod
    def pasted(cls, text: str, *, name: str) -> Recording:
        """Return the recording in a text: zoneinfo, and buddyinfo, meminfo or sysctls beside it."""
        texts = {
            file: Lines(name, tuple(part.split("\n"))) for file, part in sections(text).items()
        }
        return cls(name, None, texts)

    def get(self, name: str) -> Source | None:
        """Return the text of a file, None when there is none."""
        if self.folder is None:
            return self.texts.get(name)
        path = self.folder / name
        return path if path.is_file() else None

    def zoneinfo(self) -> Lines:
        """Return the one text that must be there; raises RecordingError when it is not."""
        if self.folder is None:
            return self.texts["zoneinfo"]
        path = self.folder / "zoneinfo"
        lines = cleaned("\n".join(Lines.of(path).lines)).split("\n")
        return Lines(str(path), tuple(lines))

    def roots(self) -> tuple[Path, ...]:
        """Return the directory and the one around it, where other trees may lie; () for a text."""
        return () if self.folder is None else (self.folder, self.folder.resolve().parent)

    def error(self, name: str, rule: str) -> RecordingError:
        """Return the error about a file as a whole."""
        return RecordingError(self.where(name), None, rule)

    def where(self, name: str) -> str:
        """Return what a file is called in errors."""
        return self.file if self.folder is None else str(self.folder / name)
