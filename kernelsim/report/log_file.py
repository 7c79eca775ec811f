"""A buffered file that only ever receives whole lines.

A run may be interrupted anywhere, by Ctrl-C in the middle of a line too. So a line counts once it
is committed, and what is not committed is never written. If the disk fills up in the middle of a
line, the file is cut back to the line before. A kill by signal 9 while the system writes can
still leave a torn last line; `event_reader` leaves such a line out.

A log may be in parts (log_parts.py): a part ends with a write that makes it large enough.

Interface: append bytes to `buffer`, call `commit`; or `info(line)` for both. After an error the
file stays as it is, and everything later is dropped.
Units: bytes.
"""

import contextlib
import io
import os
from pathlib import Path
from typing import Any, Final

from kernelsim.errors import OutputError
from kernelsim.report.log_parts import LogParts, end_of_last_line, part_path
from kernelsim.units import KIB

BUFFER_BYTES: Final = 64 * KIB  # flushed when this much is committed


class LogFile:
    """The open file of one log, and the bytes that are on their way to it.

    Args:
        path: Created, or emptied if it exists.
        buffer_bytes: Flush when so much is committed; 1 writes each line at once.
        parts: When the log goes on in another file; None for never.

    Attributes:
        buffer: Bytes not yet written; the same object for the life of the file.
        committed: How many of them are whole lines.
        nr_written: Lines in the file, and in the parts before it.
        error: Why nothing more is written; None while all is well.

    Raises:
        OutputError: the file cannot be opened or, later, written.
    """

    __slots__ = (
        *("_file", "_part", "_parts", "_part_bytes"),
        *("buffer", "buffer_bytes", "committed", "error", "nr_written", "path"),
    )

    def __init__(
        self, path: Path, *, buffer_bytes: int = BUFFER_BYTES, parts: LogParts | None = None
    ) -> None:
        self.path = path
        self._parts = parts
        self._part = 1
        self._part_bytes = 0
        self.buffer_bytes = buffer_bytes
        self.buffer = bytearray()
        self.committed = 0
        self.nr_written = 0
        self.error: OutputError | None = None
        self._file = open_raw(path, "wb")

    @property
    def nr_lines(self) -> int:
        """Lines taken so far, those on their way to the file included."""
        return self.nr_written + self.buffer.count(b"\n", 0, self.committed)

    def info(self, line: bytes) -> None:
        """Take one whole line."""
        buffer = self.buffer
        if len(buffer) != self.committed:  # left by a line that was interrupted
            del buffer[self.committed :]
        buffer += line
        self.committed = end = len(buffer)
        if end >= self.buffer_bytes:
            self.flush()

    def flush(self) -> None:
        """Write the committed lines.

        Raises:
            OutputError: the system refused; whole lines written before stay readable.
        """
        del self.buffer[self.committed :]
        while self.buffer and self.error is None:
            try:
                written = self._file.write(self.buffer) or 0
            except OSError as error:
                self.error = OutputError(self.path, error.strerror or str(error))
                self._break_off()
                raise self.error from error
            self.nr_written += self.buffer.count(b"\n", 0, written)
            del self.buffer[:written]
            self.committed = len(self.buffer)
            self._part_bytes += written
        self.buffer.clear()
        self.committed = 0
        if self._parts is not None and self._part_bytes >= self._parts.part_bytes:
            self._go_on(self._parts.keep)

    def close(self) -> None:
        """Write what is left and close. A second call does nothing."""
        if self._file.closed:
            return
        try:
            self.flush()
        finally:
            self._file.close()

    def stop(self, error: OutputError) -> None:
        """Write what is committed and nothing more: the run cannot go on, for this reason."""
        with contextlib.suppress(OutputError):
            self.flush()
        self.error = self.error or error

    def cut(self, nr_bytes: int) -> bool:
        """Cut at least so much off the end of a log that was stopped, in whole lines.

        Returns:
            Whether it was possible; the first line always stays.
        """
        assert self.error is not None, "what is whole stays whole"
        try:
            with part_path(self.path, self._part).open("rb") as reader:
                header_bytes = len(reader.readline())
                size_bytes = os.fstat(self._file.fileno()).st_size
                end_bytes = end_of_last_line(reader, max(size_bytes - nr_bytes, header_bytes))
                reader.seek(end_bytes)
                nr_cut = sum(line.endswith(b"\n") for line in reader)
            self._file.truncate(end_bytes)
        except OSError:  # not every file can be cut: a device cannot
            return False
        self.nr_written -= nr_cut
        return end_bytes < size_bytes

    def _go_on(self, keep: int | None) -> None:
        """Go on in another part, and give up the oldest but the first if there are too many.

        Raises:
            OutputError: The system refused; nothing more is written.
        """
        if self.error is not None:
            return
        try:
            file = open_raw(part_path(self.path, self._part + 1), "wb")
        except OutputError as error:
            self.error = error
            raise
        self._file.close()
        self._file, self._part, self._part_bytes = file, self._part + 1, 0
        if keep is not None and self._part > keep:
            with contextlib.suppress(OSError):
                part_path(self.path, self._part - keep + 1).unlink()

    def _break_off(self) -> None:
        """Cut a torn last line off the file."""
        with contextlib.suppress(OSError):
            size_bytes = os.fstat(self._file.fileno()).st_size
            with part_path(self.path, self._part).open("rb") as reader:
                end_bytes = end_of_last_line(reader, size_bytes)
            self._file.truncate(end_bytes)

    def __getstate__(self) -> dict[str, Any]:
        self.flush()
        names = ("path", "buffer_bytes", "nr_written", "_parts", "_part", "_part_bytes")
        return {name: getattr(self, name) for name in names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)
        self.buffer = bytearray()
        self.committed = 0
        self.error = None
        # a copy in another process goes on where it was
        self._file = open_raw(part_path(self.path, self._part), "ab")


def open_raw(path: Path, mode: str) -> io.FileIO:
    """Open a file without Python's own buffer.

    Raises:
        OutputError: the system refused.
    """
    try:
        return io.FileIO(path, mode)
    except OSError as error:
        raise OutputError(path, error.strerror or str(error)) from error
