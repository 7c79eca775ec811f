"""`kernelsim explain fault` and `explain oom`: why one was slow, and why one was killed."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from kernelsim.errors import ConfigError


def fault(run: Path, selector: str = "slowest", /) -> None:
    """Say why a page fault, or another stall, took so long: what it waited for, as a tree.

    Args:
        run: What `kernelsim run --out` wrote.
        selector: slowest (faults that were served in one go are as slow as their mean); ACTOR for
            its slowest; ACTOR@TIME or @TIME for the one at that virtual time, such as
            hog-100@1.2s. `kernelsim inspect RUN --slowest 10` lists some.
    """
    from kernelsim.report.why import read_waits, tree_text
    from kernelsim.units import format_duration

    waits = read_waits(run, key="RUN")
    operation = waits.find(selector, key="SELECTOR")
    began, took = operation.start_ns, operation.end_ns - operation.start_ns
    print(
        f"{operation.track}: {operation.name}, {format_duration(took)} from "
        f"{format_duration(began)} on"
    )
    for line in tree_text(waits.why(operation)):
        print(line)


def oom(run: Annotated[Path, Parameter(name="RUN")], /) -> None:
    """Say whom the OOM killer chose, how it ranked them, and what each term was.

    Args:
        run: What `kernelsim run --out` wrote, or a kernel log.
    """
    from kernelsim.report.rundir import DMESG
    from kernelsim.report.why_oom import kill_text, kills_of

    file = run / DMESG if run.is_dir() else run
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise ConfigError("RUN", str(file), error.strerror or str(error)) from None
    for number, kill in enumerate(kills_of(text, file=str(file))):
        if number:
            print()
        for line in kill_text(kill):
            print(line)
