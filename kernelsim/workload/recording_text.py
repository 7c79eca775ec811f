"""Read the text of a recording, compressed or not.

Interface: `read_text`.
"""

import gzip
from pathlib import Path

from kernelsim.errors import RecordingError


def read_text(path: Path) -> str:
    """Return the text of a file; one whose name ends in .gz is unpacked.

    Raises:
        RecordingError: It cannot be read.
    """
    try:
        raw = path.read_bytes()
        return (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode()
    except (OSError, EOFError, ValueError) as error:
        raise RecordingError(str(path), None, f"cannot be read: {error}") from error
