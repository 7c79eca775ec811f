"""A campaign: many runs on all cores, resumable, failures written down and cut down.

    OUT/campaign.json           what campaign it is
    OUT/runs.jsonl              a line for each run that is over; what is there is not run again
    OUT/run-17.toml             a run that failed, for `kernelsim replay`
    OUT/run-17.small.toml       the same cut down, with its script and its machine beside it:
    OUT/run-17.small.script  OUT/run-17.small.machine.toml

Interface: `run_campaign` runs one; `Tally` is what came out.
Units: seconds of wall time.
"""

import tomllib
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from time import monotonic  # noqa: TID251 - how long the user wants to wait, not virtual time
from typing import Any, Final

import attrs
import msgspec

from kernelsim import __version__
from kernelsim.config.toml_text import toml_text
from kernelsim.errors import ConfigError, OutputError
from kernelsim.explore.draw import draw_plan
from kernelsim.explore.plan import Plan, plan_of, plan_text
from kernelsim.explore.pool import Pool, Worker
from kernelsim.explore.probes import reached
from kernelsim.explore.run import DETERMINISM, Failure, Result
from kernelsim.explore.worker import STRESS, Answer
from kernelsim.report.whole import write_whole

HEADER: Final = "campaign.json"
RUNS: Final = "runs.jsonl"
LOOK_SECONDS: Final = 0.5
SHRINKS_MAX: Final = 20  # failures that are cut down, one of each kind


@attrs.frozen(kw_only=True)
class CampaignOptions:
    """What a user may choose.

    Attributes:
        seed: Plans are drawn from it.
        runs: How many; None for as many as there is time for.
        jobs: Worker processes.
        seconds: No new run begins after so long; None for no limit.
        out: Directory.
        check_determinism: Do each run twice, in two processes with different hash seeds.
        kinds: Of processes, those that each run has (draw.py).
    """

    seed: int = 1
    runs: int | None = None
    jobs: int = 1
    seconds: float | None = None
    out: Path
    check_determinism: bool = False
    kinds: tuple[str, ...] = ()


@attrs.define
class Found:
    """A run that failed.

    Attributes:
        run: Its number.
        kind: The class.
        sign: What does not hold, without numbers.
        file: The plan, relative to where we are.
        small: The plan cut down, if it was, and how large it is.
    """

    run: int
    kind: str
    sign: str
    file: Path
    small: str = ""


@attrs.define
class Tally:
    """What came out of a campaign so far.

    Attributes:
        states: Runs by how they ended.
        probes: Runs that reached a path, by its name.
        found: Those that failed.
        nr_new: Runs that were done now, not read from an earlier part of the campaign.
        seconds: How long those took.
        nr_events: Steps of the engine of all new runs.
    """

    states: Counter[str] = attrs.field(factory=Counter)
    probes: Counter[str] = attrs.field(factory=Counter)
    found: list[Found] = attrs.field(factory=list)
    nr_new: int = 0
    seconds: float = 0.0
    nr_events: int = 0

    @property
    def nr_runs(self) -> int:
        """Runs in all."""
        return self.states.total()


def run_campaign(options: CampaignOptions, look: Callable[[Tally], None]) -> Tally:
    """Run a campaign, or the rest of it.

    Args:
        options: What the user chose.
        look: Called twice a second or so.

    Raises:
        ConfigError: The directory holds another campaign.
        OutputError: The directory cannot be written.
        KeyboardInterrupt: Ctrl-C; what is done is kept.
    """
    return _Campaign(options, look).go()


class _Campaign:
    """One campaign at work."""

    def __init__(self, options: CampaignOptions, look: Callable[[Tally], None]) -> None:
        self.options = options
        self.look = look
        self.tally = Tally()
        self.done: set[int] = set()
        self.next_run = 0
        self.again: deque[tuple[int, int, Result]] = deque()  # run, worker that did it, its result
        self.shrinks: deque[int] = deque()
        self.began = monotonic()

    def go(self) -> Tally:
        """Run until all is done or time is up."""
        out = self.options.out
        try:
            out.mkdir(parents=True, exist_ok=True)
            self._open()
            with (out / RUNS).open("ab") as runs, Pool(self._nr_workers(), out, STRESS) as pool:
                while self._give(pool):
                    for worker, job, answer in pool.answers(LOOK_SECONDS):
                        self._take(worker, job, answer, runs)
                    self.tally.seconds = monotonic() - self.began
                    self.look(self.tally)
        except OSError as error:
            raise OutputError(error.filename or out, error.strerror or str(error)) from error
        return self.tally

    def _nr_workers(self) -> int:
        return max(self.options.jobs, 2) if self.options.check_determinism else self.options.jobs

    def _open(self) -> None:
        """Begin a directory, or read what an earlier part of the campaign left there."""
        header = {"kernelsim": __version__, "seed": self.options.seed}
        header |= {"check_determinism": self.options.check_determinism}
        header |= {"kinds": list(self.options.kinds)} if self.options.kinds else {}
        path = self.options.out / HEADER
        if not path.exists():
            write_whole(path, lambda place: place.write_bytes(msgspec.json.encode(header)))
            return
        there = msgspec.json.decode(path.read_bytes())
        if there != header:
            rule = f"holds a campaign of seed {there.get('seed')} and other choices: name another"
            raise ConfigError("--out", str(self.options.out), rule)
        runs = self.options.out / RUNS
        whole = runs.read_bytes().splitlines(keepends=True) if runs.exists() else []
        if whole and not whole[-1].endswith(b"\n"):  # cut off in the middle
            whole.pop()
            write_whole(runs, lambda place: place.write_bytes(b"".join(whole)))
        for line in whole:
            self._count(msgspec.json.decode(line))

    def _count(self, record: dict[str, Any]) -> None:
        run = record["run"]
        self.done.add(run)
        self.tally.states[record["state"]] += 1
        self.tally.probes.update(record["probes"])
        if record["sign"]:
            file = self._file(run)
            small = self.options.out / f"run-{run}.small.toml"
            self.tally.found.append(Found(run, record["state"], record["sign"], file))
            if small.exists():
                self.tally.found[-1].small = str(small)

    def _file(self, run: int) -> Path:
        return self.options.out / f"run-{run}.toml"

    def _give(self, pool: Pool[Answer]) -> bool:
        """Hand out jobs; return whether anything is still to come."""
        for worker in pool.idle():
            job = self._job(worker)
            if job is not None:
                worker.give(job)
        return len(pool.idle()) < len(pool.workers)

    def _job(self, worker: Worker) -> dict[str, Any] | None:
        drawn = {"seed": self.options.seed, "kinds": list(self.options.kinds)}
        for item in self.again:
            run, other, result = item
            if other != worker.number:
                self.again.remove(item)
                return drawn | {"run": run, "before": result.digest, "state": result.state}
        if self.shrinks:
            run = self.shrinks.popleft()
            return {"shrink": self._file(run).read_text(encoding="utf-8"), "run": run}
        seconds = self.options.seconds
        if seconds is not None and monotonic() - self.began > seconds:
            return None
        while self.next_run in self.done:
            self.next_run += 1
        if self.options.runs is not None and self.next_run >= self.options.runs:
            return None
        self.next_run += 1
        return drawn | {"run": self.next_run - 1}

    def _take(self, worker: Worker, job: dict[str, Any], answer: Answer, runs: Any) -> None:  # noqa: ANN401 - a file
        """Take an answer in."""
        result, run = answer.result, job["run"]
        if "shrink" in job:
            self._write_small(run, answer)
            return
        if "before" in job and job["before"] != result.digest and result.failure is None:
            text = f"digest {result.digest} in one process, {job['before']} in another"
            failure = Failure(DETERMINISM, text, ("two runs of one plan differ",))
            result = attrs.evolve(result, failure=failure, state=DETERMINISM)
        elif self.options.check_determinism and "before" not in job and result.failure is None:
            self.again.append((run, worker.number, result))
            return
        sign = result.failure.signs[0] if result.failure else ""
        probes = list(reached(result.counts))
        record = {"run": run, "state": result.state, "digest": result.digest, "sign": sign}
        if result.failure is not None:
            self._write_failure(run, result)
        runs.write(msgspec.json.encode(record | {"probes": probes}) + b"\n")
        runs.flush()
        self._count(record | {"probes": probes})
        self.tally.nr_new += 1
        self.tally.nr_events += result.nr_events

    def _write_failure(self, run: int, result: Result) -> None:
        assert result.failure is not None, "it failed"
        plan = attrs.evolve(
            draw_plan(self.options.seed, run, self.options.kinds),
            seen_kind=result.failure.kind,
            seen_digest=result.digest,
        )
        write_text(self._file(run), plan_text(plan))
        known = [found.sign for found in self.tally.found]
        can_shrink = result.nr_events and result.failure.kind != DETERMINISM
        if result.failure.signs[0] not in known and can_shrink and len(known) < SHRINKS_MAX:
            self.shrinks.append(run)

    def _write_small(self, run: int, answer: Answer) -> None:
        if answer.result.failure is None or not answer.plan:  # it took too long, or it died
            return
        plan = plan_of(tomllib.loads(answer.plan))
        plan = attrs.evolve(plan, seen_kind=answer.result.state, seen_digest=answer.result.digest)
        path = self.options.out / f"run-{run}.small.toml"
        write_text(path, plan_text(plan))
        write_portable(path.with_suffix(""), plan)
        for found in self.tally.found:
            if found.run == run:
                found.small = f"{path} ({len(plan.processes)} processes, {plan.nr_steps} steps)"


def write_portable(stem: Path, plan: Plan) -> None:
    """Write a plan's script and machine beside it, for other programs and real kernels."""
    write_text(stem.with_name(f"{stem.name}.script"), plan.script_text())
    write_text(stem.with_name(f"{stem.name}.machine.toml"), toml_text(plan.machine))


def write_text(path: Path, text: str) -> None:
    """Write a whole file."""
    write_whole(path, lambda place: place.write_text(text, encoding="utf-8"))
