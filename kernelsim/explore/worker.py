"""A worker of a campaign: runs plans, one after the other, for the process that started it.

It reads a job a line on stdin and writes an answer a line on stdout, both JSON; it ends with its
stdin. One interpreter does many runs: imports and compiled code are paid for once.

    {"seed": 1, "run": 17}                     run that plan of the campaign
    {"shrink": TOML of a plan that fails}      cut it down

Interface: `python -m kernelsim.explore.worker`; `serve` answers one job, `STRESS` is for a pool of
them. Units: ns, and seconds of wall time.
"""

import tomllib
from typing import Any, Final

import attrs
import msgspec

from kernelsim.explore.draw import draw_plan
from kernelsim.explore.plan import plan_of, plan_text
from kernelsim.explore.pool import Kind, answer_lines
from kernelsim.explore.run import EXCEPTION, LIVELOCK, Failure, Result, run_plan
from kernelsim.explore.shrink import shrink

JOB_SECONDS_MAX: Final = 300  # compiling included
SHRINK_SECONDS_MAX: Final = 1800


@attrs.frozen
class Answer:
    """What a worker says of a job.

    Attributes:
        result: Of the run.
        plan: What is left of a plan that was cut down, as TOML; "" for a plain run.
        nr_runs: How many runs it took.
    """

    result: Result
    plan: str = ""
    nr_runs: int = 1


def serve(job: dict[str, Any]) -> Answer:
    """Do a job."""
    if "shrink" in job:
        plan = plan_of(tomllib.loads(job["shrink"]))
        small = shrink(plan, run_plan(plan), run_plan)
        return Answer(small.result, plan_text(small.plan), small.nr_runs)
    return Answer(run_plan(draw_plan(job["seed"], job["run"], job.get("kinds", ()))))


def encoded(answer: Answer) -> bytes:
    """Write an answer as a line."""
    return msgspec.json.encode(attrs.asdict(answer)) + b"\n"


def decoded(line: bytes) -> Answer:
    """Read an answer."""
    table = msgspec.json.decode(line)
    result = table.pop("result")
    failure = result.pop("failure")
    if failure is not None:
        failure = Failure(failure["kind"], failure["text"], tuple(failure["signs"]))
    events = tuple(result.pop("last_events"))
    return Answer(Result(failure=failure, last_events=events, **result), **table)


def lost(is_late: bool, text: str) -> Answer:
    """Return the answer that stands for a worker that gave none."""
    kind = LIVELOCK if is_late else EXCEPTION
    failure = Failure(kind, text, (text,))
    result = Result(failure=failure, digest="", state=kind, nr_events=0, virtual_ns=0, counts={})
    return Answer(result)


def seconds_max(job: dict[str, Any]) -> float:
    """Return how long a worker may take for a job."""
    return SHRINK_SECONDS_MAX if "shrink" in job else JOB_SECONDS_MAX


STRESS: Final = Kind("kernelsim.explore.worker", decoded, lost, seconds_max)


def main() -> None:
    """Serve until stdin ends."""
    answer_lines(lambda line: encoded(serve(msgspec.json.decode(line))))


if __name__ == "__main__":
    main()
