"""Says when a log is large, which events fill it, and how the next run leaves some of them out.

Interface: `size_remark`. Units: bytes, ns; a MB is a million bytes.
"""

import re
from collections import Counter
from pathlib import Path
from typing import Final

from kernelsim.report.html.record import EVENT_NAMES
from kernelsim.report.log_parts import log_bytes, parts_of
from kernelsim.units import NS_PER_S

MB: Final = 10**6
LARGE_BYTES: Final = 10 * MB  # a virtual minute, and in all
PIECES: Final = 64  # of the log that are looked at, spread over it
PIECE_BYTES: Final = 1 << 17
EVENT: Final = re.compile(rb'"event":"([^"\\]+)"')
TOLD_MAX: Final = 3
WORTH_PERCENT: Final = 5  # of the log: what is less need not be left out


def size_remark(log: Path, virtual_ns: int) -> str:
    """Return what to know of a log that is large for the time it covers; else nothing.

    Args:
        log: events.jsonl.
        virtual_ns: How long the run was.

    Raises:
        OSError: The log cannot be read.
    """
    size = log_bytes(log)
    a_minute = size * 60 * NS_PER_S / max(virtual_ns, 1)
    if size <= LARGE_BYTES or a_minute <= LARGE_BYTES:
        return ""
    sizes: Counter[str] = Counter()
    for part in parts_of(log):
        sizes += event_sizes(part, part.stat().st_size)
    total = max(sizes.total(), 1)
    percents = {name: round(100 * nr / total) for name, nr in sizes.most_common()}
    told = ", ".join(f"{nr} % {name}" for name, nr in list(percents.items())[:TOLD_MAX])
    spare = [n for n, nr in percents.items() if nr >= WORTH_PERCENT and n not in EVENT_NAMES]
    words = " ".join(f"--trace not={name}" for name in spare)
    hint = f"; a report needs no more with {words}" if spare else ""
    return (
        f"{log.name} has {size / MB:.0f} MB, {a_minute / MB:,.0f} MB a virtual minute: {told}{hint}"
    )


def event_sizes(log: Path, size: int) -> Counter[str]:
    """Return how many bytes each event takes in the pieces looked at.

    Args:
        log: The log.
        size: Its size.
    """
    found: Counter[str] = Counter()
    with log.open("rb") as reader:
        for piece in range(PIECES):
            reader.seek(piece * size // PIECES)
            reader.readline()  # the rest of a line
            for line in reader.readlines(min(PIECE_BYTES, size // PIECES)):
                event = EVENT.search(line)
                if event is not None:
                    found[event[1].decode()] += len(line)
    return found
