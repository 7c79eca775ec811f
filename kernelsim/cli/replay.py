"""`kernelsim replay`: run what `kernelsim stress` wrote down once more, to the byte.

Exit status: 0 all invariants hold and calm comes, 2 the file is wrong, 3 it fails; the report says
how, and whether it is what was written down.
"""

from pathlib import Path


def replay(file: Path, /) -> None:
    """Run a plan of `kernelsim stress` and print what was drawn and how it went.

    Args:
        file: A plan, such as stress/run-17.toml or the smaller stress/run-17.small.toml.
    """
    from kernelsim.errors import SimulationError
    from kernelsim.explore.plan import plan_text, read_plan
    from kernelsim.explore.report import comparison, report, summary
    from kernelsim.explore.run import run_plan

    plan = read_plan(file)
    print(plan_text(plan))
    result = run_plan(plan)
    print(summary(result))
    print(comparison(plan, result), end="")
    if result.failure is not None:
        raise SimulationError(report(plan, result, file))
