"""Cut a plan that fails down to a small one that fails for the same reason.

    small = shrink(plan, failure)

Greedy: of what can be left out, the large pieces are tried first (delta debugging); what was left
out and the run still failed alike stays out; until nothing more can go or the runs are used up.
What can go: faults, lines, steps, tunables, nodes, CPUs, swap areas, and halves of all sizes and
counts. A run that fails no more because its events meet otherwise gets a few other orders of them.

Interface: `shrink`; `is_smaller_by` lists what is tried next for a plan.
Source: A. Zeller, R. Hildebrandt, "Simplifying and isolating failure-inducing input", 2002
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, Final, TypeVar

import attrs

from kernelsim.errors import UserError
from kernelsim.explore.plan import Plan
from kernelsim.explore.run import Failure, Result
from kernelsim.explore.shrink_text import smaller_lines, smaller_machines, with_less_memory

T = TypeVar("T")

RUNS_MAX: Final = 400
SCHEDULES: Final = (None, 1, 2, 3)  # tried where leaving a process out changed who meets whom
PROCESS: Final = "memhog "  # begins the line of a process
CLOSE_LOOK: Final = 100  # steps between two looks: a fault is seen soon after it happened


@attrs.define
class Shrunk:
    """What is left of a plan.

    Attributes:
        plan: It.
        result: Of its run; it fails.
        nr_runs: How many runs that took.
    """

    plan: Plan
    result: Result
    nr_runs: int = 0


def shrink(
    plan: Plan, result: Result, run: Callable[[Plan], Result], *, runs_max: int = RUNS_MAX
) -> Shrunk:
    """Return a smaller plan that fails alike; the plan itself if there is none.

    Args:
        plan: It fails.
        result: Of its run.
        run: Runs a plan.
        runs_max: Give up after so many runs.
    """
    assert result.failure is not None, "only a plan that fails can be cut down"
    left = Shrunk(plan, result)
    again = True
    while again and left.nr_runs < runs_max:
        again = False
        for ways in WAYS:
            again |= _try_ways(left, result.failure, run, ways, runs_max)
    return left


def _try_ways(
    left: Shrunk,
    failure: Failure,
    run: Callable[[Plan], Result],
    ways: Callable[[Plan], Iterator[Plan]],
    runs_max: int,
) -> bool:
    """Try one kind of cuts once, from the first to the last; return whether one of them worked.

    After a cut the next one is tried, not the first again: those before it did not work either.
    """
    schedules = SCHEDULES if ways is _fewer_lines else ()
    worked, nr_tried = False, 0
    plan = next(ways(left.plan), None)
    while plan is not None and left.nr_runs < runs_max:
        result = _fails_alike(plan, failure, run, left, schedules)
        if result is None:
            nr_tried += 1
        else:
            left.plan, left.result = result
            worked = True
        plan = next(islice(ways(left.plan), nr_tried, None), None)
    return worked


def _fails_alike(
    plan: Plan,
    failure: Failure,
    run: Callable[[Plan], Result],
    left: Shrunk,
    schedules: Sequence[int | None],
) -> tuple[Plan, Result] | None:
    """Run a plan, perhaps in other orders; return the first that fails as the failure says."""
    others = [attrs.evolve(plan, schedule_seed=seed) for seed in schedules]
    for each in [plan, *(other for other in others if other != plan)]:
        left.nr_runs += 1
        try:
            result = run(each)
        except UserError:  # cut too far: it is no plan any more
            return None
        if failure.is_like(result.failure):
            return each, result
    return None


def _close_looks(plan: Plan) -> Iterator[Plan]:
    """Look more often, in the plain order, so that the run ends soon after what went wrong."""
    if plan.check_every > CLOSE_LOOK:
        yield attrs.evolve(plan, check_every=CLOSE_LOOK)
    if plan.schedule_seed is not None:
        yield attrs.evolve(plan, schedule_seed=None)
    if plan.load_events > 1:
        yield attrs.evolve(plan, load_events=plan.load_events // 2)


def _without_faults(plan: Plan) -> Iterator[Plan]:
    for fault in pieces(plan.fault):
        yield attrs.evolve(plan, fault=fault)


def _one_process(plan: Plan) -> Iterator[Plan]:
    """Let each process run alone: smaller steps of many may come to need each other."""
    if len(plan.processes) > 1:
        for line in plan.script:
            if line.startswith(PROCESS):
                yield attrs.evolve(plan, script=(line, "wait"))


def _fewer_in_less(plan: Plan) -> Iterator[Plan]:
    """Leave one process out and take memory away, so that the others are as short of it."""
    for line in plan.script:
        if line.startswith(PROCESS):
            script = tuple(other for other in plan.script if other != line)
            for machine in with_less_memory(plan.machine):
                yield attrs.evolve(plan, script=script, machine=machine)


def _fewer_lines(plan: Plan) -> Iterator[Plan]:
    for script in pieces(plan.script):
        yield attrs.evolve(plan, script=script)


def _smaller_steps(plan: Plan) -> Iterator[Plan]:
    for number, line in enumerate(plan.script):
        for smaller in smaller_lines(line):
            script = (*plan.script[:number], smaller, *plan.script[number + 1 :])
            yield attrs.evolve(plan, script=script)


def _smaller_machine(plan: Plan) -> Iterator[Plan]:
    machine: dict[str, Any]
    for machine in smaller_machines(plan.machine):
        yield attrs.evolve(plan, machine=machine)


WAYS: Final = (
    _close_looks,
    _without_faults,
    _one_process,
    _fewer_lines,
    _fewer_in_less,
    _smaller_steps,
    _smaller_machine,
)


def pieces(items: tuple[T, ...]) -> Iterator[tuple[T, ...]]:
    """Return what is left of a sequence without each half, quarter … and single of its items."""
    size = len(items)
    while size:
        for first in range(0, len(items), size):
            yield items[:first] + items[first + size :]
        size //= 2
