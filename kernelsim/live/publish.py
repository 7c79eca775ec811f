"""What is served of a run: texts of /proc and /sys, of a moment or of the end.

    published = published_end(Path("out"))              # a run that has ended
    Publisher(kernel, board, pace, workload="w.py", seed=1)   # an onlooker of one that goes on

Interface: `Published`, a frozen value; a `Board` holds the latest, for another thread to read.
Units: ns, virtual (`t_ns`) and real (`wall_ns`).
"""

from collections.abc import Mapping
from pathlib import Path
from time import perf_counter_ns, sleep  # noqa: TID251 - the time of those who ask
from typing import Final

import attrs

from kernelsim.actors.core.kernel import Kernel
from kernelsim.errors import ConfigError
from kernelsim.live.metrics import FILES
from kernelsim.live.pace import Pace
from kernelsim.procfs.capture import PRESSURE_STATES, capture
from kernelsim.procfs.tree import render_tree
from kernelsim.report.onlooker import LOOK_EVENTS
from kernelsim.report.rundir import EVENTS, RUN, is_being_written, run_of
from kernelsim.sched.psi import Pressure, PsiTotals
from kernelsim.units import NS_PER_S

REFRESH_NS: Final = NS_PER_S // 2  # real, between two publications
NAP_S: Final = 0.1  # real; a signal that ends the run is noticed this late
NO_AVERAGES: Final = (0, 0, 0)


@attrs.frozen(kw_only=True)
class Published:
    """A machine at one moment.

    Attributes:
        texts: Of its files, by path.
        t_ns: The virtual time; None where nothing says it.
        run: What run it is, by name of a label: workload, machine, seed, state.
    """

    texts: Mapping[str, str]
    t_ns: int | None
    run: Mapping[str, str]


@attrs.define
class Board:
    """Where the latest is found, by any thread: it is replaced whole, never changed."""

    latest: Published | None = None


def published_end(directory: Path) -> Published:
    """Return the state at the end of a run, from its directory, or of a snapshot of it.

    Raises:
        ConfigError: There is none (yet).
    """
    tree = directory / "proc"
    if not tree.is_dir():
        raise ConfigError("WHAT", str(directory), why_no_end(directory))
    paths = (path for path in directory.rglob("*") if path.is_file())
    names = {str(path.relative_to(directory)): path for path in sorted(paths)}
    texts = {name: path.read_text() for name, path in names.items() if FILES.fullmatch(name)}
    run = run_of(directory) or {}
    labels = {"workload": "workload", "machine": "machine", "seed": "seed", "state": "exit_state"}
    t_ns = run.get("virtual_ns")
    return Published(
        texts=texts,
        t_ns=t_ns if isinstance(t_ns, int) else None,
        run={label: str(run.get(key, "")) for label, key in labels.items()},
    )


def why_no_end(directory: Path) -> str:
    """Return why a directory has no state to serve."""
    if not (directory / EVENTS).is_file():
        return "must hold a run, with its proc/ at the end"
    if is_being_written(directory) and not (directory / RUN).exists():
        return "the run goes on: its proc/ comes with its end; --live serves a run that it starts"
    return "the run was cut short: it has no proc/"


class Publisher:
    """An onlooker that publishes what the machine shows, twice a second and at the end.

    Args:
        kernel: The machine.
        board: Where to.
        pace: How time goes on; nobody pauses it.
        run: Labels of the run, without its state.
    """

    def __init__(self, kernel: Kernel, board: Board, pace: Pace, run: Mapping[str, str]) -> None:
        self._kernel = kernel
        self._engine = kernel.engine
        self._board = board
        self._pace = pace
        self._run = dict(run)
        self._due_ns = 0
        # Of its own: to read /proc/pressure would change what later readers find.
        self._stalled = PsiTotals(kernel.psi.cpus)

    def due(self) -> tuple[int | None, int | None]:
        """Return when to look next: at the pace's next stop, and after some events."""
        clock = self._engine.clock
        return self._pace.due_ns(clock.now_ns), clock.number + LOOK_EVENTS

    def look(self) -> None:
        """Publish if it is time to, and come back when the run may go on."""
        while not self._engine.clock.is_halted:
            wall_ns = perf_counter_ns()
            if wall_ns >= self._due_ns:
                self._publish("running")
                self._due_ns = perf_counter_ns() + REFRESH_NS
            wait_s = self._pace.wait_s(self._engine.now_ns, wall_ns)
            if not wait_s:
                return
            sleep(min(wait_s, NAP_S))

    def see_end(self) -> None:
        """Publish how it ended."""
        ended = self._engine.ended
        assert ended is not None
        self._publish(ended.state)

    def stop(self) -> None:
        """Do nothing: the last state goes on to be served."""

    def _publish(self, state: str) -> None:
        kernel, now_ns = self._kernel, self._engine.now_ns
        snapshot = capture(kernel, usage=False, pressure=False)
        total_ns = self._stalled.collect(now_ns)
        pressure = {
            resource: {kind: Pressure(NO_AVERAGES, total_ns[each]) for kind, each in kinds.items()}
            for resource, kinds in PRESSURE_STATES.items()
        }
        seen = attrs.evolve(snapshot, processes=(), pressure=pressure)
        texts = {name: text for name, text in render_tree(seen) if FILES.fullmatch(name)}
        self._board.latest = Published(texts=texts, t_ns=now_ns, run={**self._run, "state": state})
