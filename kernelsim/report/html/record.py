"""What a run left behind, as its report reads it.

Samples are taken as they are, at most a thousand. Events may be millions, so duckdb reads them,
once and into the columns that a report needs, and sums them up: nothing here grows with the log
but the time it takes.

Interface: `read_record`; what it returns has `samples`, `processes`, and a method for each thing
that only events tell.
Units: ns, pages.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import attrs
import numpy as np
from numpy.typing import NDArray

from kernelsim.errors import ConfigError
from kernelsim.procfs.vmstat import ZONE_SUFFIXES
from kernelsim.report.log_parquet import sql_list
from kernelsim.report.log_parts import whole_parts
from kernelsim.report.metrics import connect, quoted
from kernelsim.report.rundir import EVENTS, MEMORY_MAP, METRICS, PROCESSES, run_of
from kernelsim.report.samples import Samples

if TYPE_CHECKING:
    import duckdb

TEXTS: Final = ("actor", "event", "comm", "kind", "lock", "band_to", "state", "reason")
NUMBERS: Final = (
    *("t_ns", "pid", "nid", "zid", "wait_ns", "latency_ns", "reclaim_ns", "lock_ns", "io_ns"),
    *("anon_rss", "exit_code", "errno"),
)
UNSIGNED: Final = ("nr_pages", "free_pages", "index")  # unsigned long, which a BIGINT may not hold
COLUMNS: Final = {  # of the events that a report is made of
    **dict.fromkeys(TEXTS, "VARCHAR"),
    **dict.fromkeys(NUMBERS, "BIGINT"),
    **dict.fromkeys(UNSIGNED, "HUGEINT"),
}
EVENT_NAMES: Final = (
    *("ks_fault", "ks_lock_wait", "ks_watermark", "ks_process_start", "ks_process_exit"),
    *("mm_vmscan_direct_reclaim_begin", "mm_vmscan_direct_reclaim_end", "mark_victim"),
    *("mm_vmscan_kswapd_wake", "mm_vmscan_lru_shrink_inactive", "ks_memory_block"),
)
READ_EVENTS: Final = """
CREATE TABLE event AS SELECT *
FROM read_json(%s, format = 'newline_delimited', columns = {%s}) WHERE event IN (%s)
"""
STALLS: Final = """
SELECT actor, t_ns, after - t_ns AS ns FROM (
  SELECT actor, event, t_ns, lead(t_ns) OVER (PARTITION BY actor ORDER BY rowid) AS after
  FROM event WHERE event LIKE 'mm_vmscan_direct_reclaim_%'
) WHERE event LIKE '%_begin' AND after IS NOT NULL ORDER BY ns DESC, t_ns, actor
"""
FAULTS: Final = """
SELECT CAST(greatest(t_ns - 1, 0) // ? AS BIGINT) AS bin, kind, major,
  CAST(floor(log2(greatest(latency_ns / nr_pages, 1)) * 8) AS BIGINT) AS level,
  CAST(sum(nr_pages) AS BIGINT) AS nr, max(latency_ns / nr_pages) AS max_ns
FROM (SELECT *, io_ns > 0 AS major FROM event WHERE event = 'ks_fault' AND nr_pages > 0)
GROUP BY ALL ORDER BY ALL
"""
SLOWEST: Final = """
SELECT actor, t_ns, kind, latency_ns, lock_ns, reclaim_ns, io_ns FROM event
WHERE event = 'ks_fault' AND nr_pages = 1 ORDER BY latency_ns DESC, t_ns, rowid LIMIT 1
"""
LOCK_WAITS: Final = """
SELECT CAST(t_ns // ? AS BIGINT) AS bin, lock, CAST(sum(wait_ns) AS BIGINT) AS ns
FROM event WHERE event = 'ks_lock_wait' GROUP BY ALL ORDER BY ALL
"""
LOCK_TOTALS: Final = """
SELECT lock, count(*) AS nr, CAST(sum(wait_ns) AS BIGINT) AS ns, max(wait_ns) AS max_ns
FROM event WHERE event = 'ks_lock_wait' GROUP BY lock ORDER BY ns DESC, lock
"""
CROSSINGS: Final = """
SELECT t_ns, CAST(free_pages AS BIGINT) AS free_pages FROM event
WHERE event = 'ks_watermark' AND nid = ? AND zid = ? ORDER BY rowid
"""
BELOW_MIN: Final = """
SELECT nid, zid, count(*) AS nr, min(t_ns) AS first_ns FROM event
WHERE event = 'ks_watermark' AND band_to = 'below_min' GROUP BY nid, zid ORDER BY nid, zid
"""
LIVES: Final = """
SELECT event, t_ns, pid, comm, exit_code, anon_rss FROM event
WHERE event IN ('ks_process_start', 'ks_process_exit', 'mark_victim') ORDER BY rowid
"""

HOTPLUG: Final = """
SELECT t_ns, CAST("index" AS BIGINT) AS block, state, errno, reason FROM event
WHERE event = 'ks_memory_block' ORDER BY rowid
"""
# The kernel tells when a round begins; its end is the last thing that kswapd tells in it.
KSWAPD: Final = """
SELECT min(nid) AS nid, min(t_ns) AS start_ns, max(t_ns) AS end_ns FROM (
  SELECT actor, nid, t_ns,
    sum(CAST(event = 'mm_vmscan_kswapd_wake' AS BIGINT)) OVER (PARTITION BY actor ORDER BY rowid)
      AS round
  FROM event WHERE event IN ('mm_vmscan_kswapd_wake', 'mm_vmscan_lru_shrink_inactive')
    AND actor LIKE 'kswapd%'
) WHERE round > 0 GROUP BY actor, round ORDER BY start_ns, nid
"""

Column = NDArray[Any]


class Life(NamedTuple):
    """A process, as the log tells of it."""

    pid: int
    comm: str
    start_ns: int
    exit_ns: int | None
    exit_code: int | None
    victim_ns: int | None
    """When the OOM killer chose it."""


class BlockChange(NamedTuple):
    """A block of memory that went online or offline, or could not."""

    t_ns: int
    block: int
    state: str
    """Its state afterwards."""
    errno: int
    """0, or why it could not."""
    reason: str
    """The same in the kernel's words."""


@attrs.frozen
class RunRecord:
    """A run's directory, read.

    Attributes:
        directory: It.
        run: What run.json says; empty when the run has none.
        samples: Counters of the machine.
        processes: Those of processes, by pid: columns by name, [row].
        memory_map: What page frames held; None when the run did not write it.
    """

    directory: Path
    run: dict[str, Any]
    samples: Samples
    processes: dict[int, dict[str, Column]]
    memory_map: Samples | None
    _events: "duckdb.DuckDBPyConnection"

    @property
    def end_ns(self) -> int:
        """When the last sample was taken."""
        return int(self.samples.t_ns[-1])

    @property
    def nr_nodes(self) -> int:
        """Nodes of the machine."""
        return sum(name.endswith("_nr_inactive_anon") for name in self.samples.names)

    def has(self, counter: str) -> bool:
        """Return whether a counter of the machine changed in the run."""
        values = self.samples.of(counter)
        return bool((values != values[0]).any())

    @property
    def zones(self) -> list[str]:
        """Zones with memory, as columns name them: node0_DMA32."""
        ending = "_boost"
        return [name.removesuffix(ending) for name in self.samples.names if name.endswith(ending)]

    def zid(self, zone: str) -> int:
        """Return the number of a zone's type, as events have it."""
        types = [name for name in self.samples.names if name.startswith("pgalloc_")]
        return types.index(f"pgalloc_{ZONE_SUFFIXES[zone.partition('_')[2]]}")

    def stalls(self) -> dict[str, Column]:
        """Return direct reclaims, the longest first: actor, t_ns, ns."""
        return self._columns(STALLS)

    def faults(self, bin_ns: int) -> dict[str, Column]:
        """Return how many faults took how long: bin, kind, major, level, nr, max_ns.

        Args:
            bin_ns: Width of a bin of time.

        Level n is from 2^(n/8) ns to 2^((n+1)/8) ns, so 9 % wide. A burst of faults counts at its
        mean.
        """
        return self._columns(FAULTS, bin_ns)

    def slowest_fault(self) -> dict[str, Any] | None:
        """Return the slowest fault that was served alone, or None: the columns of `SLOWEST`."""
        found = self._columns(SLOWEST)
        return {name: each[0] for name, each in found.items()} if len(found["actor"]) else None

    def lock_waits(self, bin_ns: int) -> dict[str, Column]:
        """Return how long locks were waited for in each bin of time: bin, lock, ns."""
        return self._columns(LOCK_WAITS, bin_ns)

    def lock_totals(self) -> dict[str, Column]:
        """Return waits of each lock, the most waited for first: lock, nr, ns, max_ns."""
        return self._columns(LOCK_TOTALS)

    def crossings(self, nid: int, zid: int) -> dict[str, Column]:
        """Return a zone's free pages whenever they crossed a watermark: t_ns, free_pages."""
        return self._columns(CROSSINGS, nid, zid)

    def below_min(self) -> dict[str, Column]:
        """Return how often zones fell below their min watermark: nid, zid, nr, first_ns."""
        return self._columns(BELOW_MIN)

    def hotplug(self) -> list[BlockChange]:
        """Return what became of blocks of memory, in its order."""
        return [BlockChange(*row) for row in self._events.execute(HOTPLUG).fetchall()]

    def kswapd(self) -> dict[str, Column]:
        """Return the rounds of each kswapd: nid, start_ns, end_ns."""
        return self._columns(KSWAPD)

    def lives(self) -> list[Life]:
        """Return the processes in the order they started."""
        found: dict[int, Life] = {}
        rows = self._events.execute(LIVES).fetchall()
        for event, t_ns, pid, comm, exit_code, _ in rows:
            if event == "ks_process_start":
                found[pid] = Life(pid, comm, t_ns, None, None, None)
            elif pid in found and event == "mark_victim":
                found[pid] = found[pid]._replace(victim_ns=t_ns)
            elif pid in found:
                found[pid] = found[pid]._replace(exit_ns=t_ns, exit_code=exit_code)
        return list(found.values())

    def _columns(self, statement: str, *arguments: int) -> dict[str, Column]:
        table = self._events.execute(statement, arguments).fetchnumpy()
        return {name: np.ma.getdata(column) for name, column in table.items()}


def read_record(directory: Path, *, key: str = "DIRECTORY") -> RunRecord:
    """Read a run's directory.

    Args:
        directory: What `kernelsim run --out` wrote.
        key: Name of the option for the error.

    Raises:
        ConfigError: It holds no run of a machine that came to its end, or its log is damaged.
    """
    for name in (EVENTS, METRICS, PROCESSES):
        if not (directory / name).is_file():
            rule = f"must hold the run of a machine that has ended; there is no {name}"
            raise ConfigError(key, str(directory), rule)
    return RunRecord(
        directory,
        run_of(directory) or {},
        Samples(directory / METRICS),
        by_process(Samples(directory / PROCESSES)),
        Samples(directory / MEMORY_MAP) if (directory / MEMORY_MAP).is_file() else None,
        read_events(directory),
    )


def by_process(samples: Samples) -> dict[int, dict[str, Column]]:
    """Return the samples of each process, by pid."""
    pids = samples.of("pid")
    return {
        int(pid): {name: samples.of(name)[pids == pid] for name in samples.names}
        for pid in np.unique(pids)
    }


def read_events(directory: Path) -> "duckdb.DuckDBPyConnection":
    """Read the events that a report needs into the table `event`.

    Raises:
        ConfigError: A line of the log is none.
    """
    import duckdb  # noqa: PLC0415 - as in metrics.py

    connection = connect()
    columns = ", ".join(f"{name}: '{kind}'" for name, kind in COLUMNS.items())
    names = ", ".join(quoted(name, "'") for name in EVENT_NAMES)
    with TemporaryDirectory(prefix="kernelsim-") as scratch:
        log = sql_list(whole_parts(directory / EVENTS, Path(scratch)))
        try:
            connection.execute(READ_EVENTS % (log, columns, names))
        except duckdb.Error as error:
            connection.close()
            reason = str(error).partition("\n")[0]
            raise ConfigError(
                "DIRECTORY", str(directory), f"has a damaged log: {reason}"
            ) from error
    return connection
