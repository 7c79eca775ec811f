"""A worker of a campaign: runs plans, one after the other, for the process that started it.

It reads a job a line on stdin and writes an answer a line on stdout, both JSON; it ends with its
stdin. One interpreter does many runs: imports and compiled code are paid for once.

    {"seed": 1, "run": 17}                     run that plan of the campaign
    {"shrink": TOML of a plan that fails}      cut it down

Interface: `python -m kernelsim.explore.worker`; `serve` answers one job. Units: ns.
"""

import os
import sys
import tomllib
from typing import Any

import attrs
import msgspec

from kernelsim.explore.draw import draw_plan
from kernelsim.explore.plan import plan_of, plan_text
from kernelsim.explore.run import Failure, Result, run_plan
from kernelsim.explore.shrink import shrink


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
    return Answer(run_plan(draw_plan(job["seed"], job["run"])))


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


def main() -> None:
    """Serve until stdin ends; what a run prints goes to stderr."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    for line in sys.stdin.buffer:
        answers.write(encoded(serve(msgspec.json.decode(line))))
        answers.flush()


if __name__ == "__main__":
    main()
