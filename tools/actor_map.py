"""Print the map of the actors: what each owns and hears, who tells it, whom it asks.

    python -m tools.actor_map

It is read off the sources: the messages from `actors/messages` and from the table of calls, who
constructs them from the code, what an actor owns from the `Owns:` of its module. A test compares it
with the guide of `kernelsim/actors`; after a change paste what this prints there.
"""

import ast
import re
import textwrap
from functools import cached_property
from pathlib import Path
from typing import Final

import attrs

PACKAGE: Final = Path(__file__).resolve().parent.parent / "kernelsim"
ACTORS: Final = PACKAGE / "actors"
MESSAGES: Final = "kernelsim.actors.messages."
HOLDERS: Final = {  # they know what others do it with, and do nothing of it themselves
    "kernelsim.actors.core.kernel",
    "kernelsim.actors.core.process_table",
}
WIDTH: Final = 96
OWNS: Final = re.compile(r"^Owns: (.+?)\.\n(?=[A-Z]|\n|$)", re.DOTALL | re.MULTILINE)


@attrs.frozen(eq=False, slots=False)
class Module:
    """One source file.

    Attributes:
        name: Dotted, in full.
        tree: Its text, parsed.
    """

    name: str
    tree: ast.Module

    @property
    def short(self) -> str:
        """As the guide writes it, a path below actors/ or the package."""
        return self.name.removeprefix("kernelsim.").removeprefix("actors.").replace(".", "/")

    @cached_property
    def imports(self) -> list[tuple[str, str]]:
        """What it imports: pairs of module and name."""
        return [
            (node.module, alias.name)
            for node in ast.walk(self.tree)
            if isinstance(node, ast.ImportFrom) and node.module
            for alias in node.names
        ]

    @cached_property
    def sends(self) -> set[tuple[str, str]]:
        """The messages it constructs: pairs of who hears them and the class."""
        known = {
            name: module.removeprefix(MESSAGES)
            for module, name in self.imports
            if module.startswith(MESSAGES)
        }
        called = (node.func for node in ast.walk(self.tree) if isinstance(node, ast.Call))
        names = {func.id for func in called if isinstance(func, ast.Name)}
        return {(known[name], name) for name in names & known.keys()}

    @cached_property
    def hands_on(self) -> set[tuple[str, str]]:
        """Those of these messages that a disk is given, to tell at its end."""
        words = (node for node in ast.walk(self.tree) if isinstance(node, ast.keyword))
        given = {
            word.value.func.id
            for word in words
            if word.arg == "end_io"
            and isinstance(word.value, ast.Call)
            and isinstance(word.value.func, ast.Name)
        }
        return {pair for pair in self.sends if pair[1] in given}


def modules() -> dict[str, Module]:
    """Read the package."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(("kernelsim", *path.relative_to(PACKAGE).with_suffix("").parts))
        found[name] = Module(name, ast.parse(path.read_text(encoding="utf-8")))
    return found


def actor_modules(every: dict[str, Module]) -> dict[str, Module]:
    """Find the modules that define an actor, by the name their messages go by."""
    found = {}
    for name, module in every.items():
        bases = {
            base.id
            for node in module.tree.body
            if isinstance(node, ast.ClassDef)
            for base in node.bases
            if isinstance(base, ast.Name)
        }
        if name.startswith("kernelsim.actors.") and "Actor" in bases:
            found[name.rpartition(".")[2]] = module
    return found


def acts_with(start: Module, every: dict[str, Module], actors: dict[str, Module]) -> list[Module]:
    """Return the modules whose code runs in an actor's time: its own, and what it imports."""
    others = {module.name for module in actors.values()}
    found, waiting = [], [start.name]
    seen = set(waiting)
    while waiting:
        module = every[waiting.pop()]
        found.append(module)
        for target, name in () if module.name in HOLDERS else module.imports:
            for wanted in (target, f"{target}.{name}"):
                is_code = wanted.startswith("kernelsim.actors.") and not wanted.startswith(MESSAGES)
                if is_code and wanted in every and wanted not in seen | others:
                    seen.add(wanted)
                    waiting.append(wanted)
    return found


def calls(every: dict[str, Module]) -> list[str]:
    """Return the values of the table of calls."""
    return sorted(
        ast.unparse(word.value)
        for name, module in every.items()
        if name.startswith("kernelsim.actors.process.calls.")
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Call"
        for word in node.keywords
        if word.arg == "value"
    )


def owned(module: Module) -> str:
    """Return what an actor owns, as its module says."""
    match = OWNS.search(ast.get_docstring(module.tree) or "")
    if match is None:
        raise ValueError(f"{module.short}.py does not say what its actor owns: 'Owns: ….'")
    return " ".join(match[1].split())


def actor_map() -> str:
    """Return the map, one block an actor."""
    every = modules()
    actors = actor_modules(every)
    blocks = []
    for actor, module in sorted(actors.items(), key=lambda item: item[1].name):
        senders = [other for other in every.values() if other is not module]
        told = {name for other in senders for who, name in other.sends if who == actor}
        by = sorted(m.short for m in senders if any(who == actor for who, _ in m.sends))
        if actor == "process":
            told |= set(calls(every))
            by.append("workload/handle")
        sent = {pair for part in acts_with(module, every, actors) for pair in part.sends}
        if actor == "block_device":
            sent |= {pair for other in every.values() for pair in other.hands_on}
        asks = sorted({who for who, _ in sent} - {actor})
        blocks.append(
            "\n".join(
                (
                    f"{actor} ({module.short}.py)",
                    row("owns", owned(module)),
                    row("hears", " ".join(sorted(told)) or "no message"),
                    row("from", " ".join(by) or "nobody"),
                    row("tells", " ".join(asks) or "no other"),
                )
            )
        )
    return textwrap.indent("\n".join(blocks), "    ") + "\n"


def row(word: str, text: str) -> str:
    """Return a line of a block, wrapped."""
    head = f"    {word:6}"
    return textwrap.fill(
        text, WIDTH, initial_indent=head, subsequent_indent=" " * len(head), break_on_hyphens=False
    )


if __name__ == "__main__":
    print(actor_map(), end="")
