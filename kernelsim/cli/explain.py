"""`kernelsim explain`: say why, step by step.

Interface: `explain`, a group of commands, each in a file of its own; to add one, give it a row in
`SUBJECTS`.
"""

from typing import Final

from cyclopts import App

SUBJECTS: Final = (  # name, function, one line for `kernelsim explain --help`
    (
        "access",
        "kernelsim.cli.explain_access:access",
        "The way of one load and one store, each step with its latency.",
    ),
    (
        "address",
        "kernelsim.cli.explain_address:address",
        "The walk of an address: region, entries, frame or fault.",
    ),
    (
        "fault",
        "kernelsim.cli.explain_why:fault",
        "Why a page fault took so long: its chain of waits.",
    ),
    (
        "oom",
        "kernelsim.cli.explain_why:oom",
        "Whom the OOM killer chose, and what each term of its ranking was.",
    ),
)


def group() -> App:
    """Return the group, without importing any of its commands."""
    app = App(name="explain", help="Say why, step by step.")
    for name, function, text in SUBJECTS:
        app.command(function, name=name, help=text)
    return app


explain: Final = group()
