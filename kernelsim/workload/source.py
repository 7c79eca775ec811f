"""What the text of a workload tells before it runs: modules that break replay, expectations.

A run repeats byte for byte only if everything comes from its seed and its virtual time. A workload
that imports a module of the host's clock or chance is told so once, with the line; so is one that
does it through modules in its own directory.

Interface: `expect_lines`, `foreign_imports`, `lines_without_await` of a parsed file.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

INSTEAD: Final = {
    "random": 'numbers that the seed decides come from {0}.rng("name")',
    "numpy.random": 'numbers that the seed decides come from {0}.rng("name")',
    "secrets": 'numbers that the seed decides come from {0}.rng("name")',
    "uuid": 'numbers that the seed decides come from {0}.rng("name")',
    "time": "the run's time is {0}.now_ns, and `await {0}.sleep(…)` lets it pass",
}
"""What to use instead of a module; {0} is the machine, or the engine of a simulation."""


def expect_lines(tree: ast.Module) -> tuple[tuple[int, int], ...]:
    """Return first and last line of each call of a method `expect`, in order."""
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    spans = [
        (call.lineno, call.end_lineno or call.lineno)
        for call in calls
        if isinstance(call.func, ast.Attribute) and call.func.attr == "expect"
    ]
    return tuple(sorted(spans))


def lines_without_await(tree: ast.Module, call: str) -> tuple[int, ...]:
    """Return the lines of calls of a function or method, by its qualified name, without await."""
    name = call.rpartition(".")[2]
    awaited = {node.value for node in ast.walk(tree) if isinstance(node, ast.Await)}
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    return tuple(
        sorted(
            node.lineno
            for node in calls
            if node not in awaited and ast.unparse(node.func).rpartition(".")[2] == name
        )
    )


def foreign_imports(tree: ast.Module, path: Path, given: str) -> tuple[str, ...]:
    """Return a warning for each module of the host's clock or chance that a workload imports.

    Args:
        tree: The workload.
        path: Its file; modules beside it are looked into as well.
        given: What the workload's function is given: "machine" or "engine".
    """
    warnings: list[str] = []
    waiting = [(path, tree)]
    seen = {path.resolve()}
    while waiting:
        file, part = waiting.pop(0)
        told: list[str] = []
        for line, name in imported(part):
            module = next((each for each in INSTEAD if f"{name}.".startswith(f"{each}.")), None)
            if module is not None and module not in told:
                told.append(module)
                warnings.append(
                    f"{file}:{line}: {module} makes runs of one seed differ: "
                    + INSTEAD[module].format(given)
                )
            beside = path.parent.joinpath(*name.split(".")[:1]).with_suffix(".py")
            if beside.is_file() and beside.resolve() not in seen:
                seen.add(beside.resolve())
                waiting.extend(parsed(beside))
    return tuple(warnings)


def parsed(file: Path) -> Iterator[tuple[Path, ast.Module]]:
    """Yield a file and its parsed text; nothing for a file that Python would refuse as well."""
    try:
        yield file, ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return


def imported(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield line and full name of every import, and of `numpy.random` used as an attribute."""
    arrays = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
            arrays += [a.asname or a.name for a in node.names if a.name == "numpy"]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node) in {f"{n}.random" for n in arrays}:
            yield node.lineno, "numpy.random"
