"""Open and read recordings, compressed or not.

Interface: `open_bytes`, `read_text`; what reading a damaged .gz raises is in `DAMAGED`.
"""

import gzip
import zlib
from pathlib import Path
from typing import BinaryIO, Final, cast

from kernelsim.errors import RecordingError

DAMAGED: Final = (EOFError, zlib.error, gzip.BadGzipFile)
WHOLE_GZIP: Final = "must be a whole gzip file; this one is cut short or damaged"


def open_bytes(path: Path) -> BinaryIO:
    """Open a file for reading bytes; one whose name ends in .gz is unpacked."""
    if path.suffix == ".gz":
        return cast("BinaryIO", gzip.open(path, "rb"))
    return path.open("rb")


def read_text(path: Path) -> str:
    """Return the text of a file; one whose name ends in .gz is unpacked.

    Raises:
        RecordingError: It cannot be read, is damaged, or is not in UTF-8.
    """
    try:
        with open_bytes(path) as file:
            return file.read().decode()
    except DAMAGED:
        raise RecordingError(str(path), None, WHOLE_GZIP) from None
    except (OSError, ValueError) as error:
        raise RecordingError(str(path), None, f"cannot be read: {error}") from error
