"""`kernelsim tour`: the study of Linux memory management that we come from, row by row, executed.

Exit status: 0 when every row that was run holds, 1 when one does not, 2 wrong use.
"""

import os
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from kernelsim.cli.options import Whole
from kernelsim.errors import CheckFailedError, ConfigError


def tour(
    *rows: str,
    list_: Annotated[bool, Parameter(name="--list", negative="")] = False,
    markdown: Annotated[bool, Parameter(negative="")] = False,
    lang: str = "en",
    jobs: Whole | None = None,
    workloads: Path | None = None,
) -> None:
    """Run what shows each row of the mission; print the note's figure, ours, and what to look at.

    Args:
        rows: Such as P15; a letter stands for all of its area: A actors, P physical memory, V
            virtual memory, R reclaim, B beyond. All by default.
        list_: Only list the rows: whether each works, and what shows it.
        markdown: List them as the table of the README.
        lang: en or zh (中文).
        jobs: Commands run at a time; one a CPU by default.
        workloads: The folder of the workloads; ./workloads, or that of the source, by default.
    """
    from kernelsim.report.text_table import print_table
    from kernelsim.report.tour import WORDS, block_of, list_of, markdown_of, run_rows
    from kernelsim.report.tour_table import (
        LANGUAGES,
        chosen_rows,
        folder_of_workloads,
        read_rows,
    )

    if lang not in LANGUAGES:
        raise ConfigError("--lang", lang, f"must be one of {', '.join(LANGUAGES)}")
    if jobs is not None and jobs < 1:
        raise ConfigError("--jobs", jobs, "must be at least 1")
    folder = folder_of_workloads(workloads)
    chosen = chosen_rows(read_rows(folder), rows)
    if markdown:
        print(markdown_of(chosen, lang), end="")
        return
    if list_:
        print_table(*list_of(chosen, lang))
        return
    broken: list[str] = []
    for outcome in run_rows(chosen, folder, jobs or os.cpu_count() or 1, lang):
        print(block_of(outcome, lang), flush=True)
        broken += [outcome.row.name] if outcome.why_not else []
    if broken:
        raise CheckFailedError(f"{WORDS[lang]['failing']}: {', '.join(broken)}")
