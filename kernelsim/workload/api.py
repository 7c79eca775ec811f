"""Mark the function of a Python file that is a workload, and load such files.

    @simulation
    async def main(engine): ...         # actors of the author's own, no machine

    @workload(machine="numa-2x4g")
    async def main(machine): ...        # a simulated machine; options of the command line win

A file holds one workload. The decorators only mark and remember; what is wrong with a file is a
`WorkloadError` of one line when it is loaded.

Interface: `simulation`, `workload` for authors; `load_workload` and `workload_mistake` for the
program that runs workloads.
"""

import ast
import inspect
import sys
import traceback
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import CodeType, ModuleType, UnionType
from typing import Any, Final, Literal, overload

import attrs
import trio

from kernelsim.config.machine import MachineSpec
from kernelsim.errors import (
    ActorCrashedError,
    ForgottenAwaitError,
    OutcomeError,
    RecordingError,
    StuckError,
    UserError,
    WorkloadError,
    shown,
)
from kernelsim.sim.ending import described
from kernelsim.sim.places import is_ours
from kernelsim.sim.signals import Interrupted
from kernelsim.units import parse_duration
from kernelsim.workload.source import expect_lines, foreign_imports, lines_without_await

Main = Callable[[Any], Awaitable[object]]

MODULE_PREFIX: Final = "kernelsim_workload_"  # so that no file hides a module of that name


def _not_known() -> None:
    """Know nothing of why a run got stuck."""


@attrs.frozen
class Workload:
    """A function that is a workload, and what its author chose for it."""

    function: Main
    """Gets the `Engine` of a simulation, or the `MachineHandle`."""
    kind: Literal["simulation", "machine"]
    machine: MachineSpec | str | None = None
    """A description, a preset or a TOML file; None leaves it to the command line."""
    until: int | str | None = None
    """The run ends at this virtual time: ns, or text such as "10s"."""
    settings: Mapping[str, object] = attrs.field(factory=dict)
    """Tunables put in force before it starts, such as {"vm.swappiness": 10}."""
    burst_pages: int | None = None
    """Most pages touched before the log gets its events; None for the default."""
    expect_lines: tuple[tuple[int, int], ...] = ()
    """First and last lines of the calls of `machine.expect` in its file."""
    warnings: tuple[str, ...] = ()
    """What in its files may keep one seed from giving one run, a line each."""
    stuck: Callable[[], WorkloadError | None] = _not_known
    """Why a run of it that got stuck did so, where the workload knows."""


def simulation(function: Main) -> Workload:
    """Mark `async def main(engine)` as a workload of actors without a machine.

    Raises:
        WorkloadError: The function is not async, or does not take one argument.
    """
    return Workload(_checked(function), "simulation")


@overload
def workload(function: Main, /) -> Workload: ...
@overload
def workload(
    *,
    machine: MachineSpec | str | None = None,
    until: int | str | None = None,
    settings: Mapping[str, object] | None = None,
    burst_pages: int | None = None,
) -> Callable[[Main], Workload]: ...
def workload(
    function: Main | None = None,
    /,
    *,
    machine: MachineSpec | str | None = None,
    until: int | str | None = None,
    settings: Mapping[str, object] | None = None,
    burst_pages: int | None = None,
) -> Workload | Callable[[Main], Workload]:
    """Mark `async def main(machine)` as a workload of a simulated machine.

    Args:
        function: The function, when used without options.
        machine: A description, a preset or a TOML file; None leaves it to the command line.
        until: The run ends at this virtual time: ns, or text such as "10s".
        settings: Tunables put in force before it starts, such as {"vm.swappiness": 10}.
        burst_pages: Most pages a task touches before the log gets its events; it changes the
            speed, no counter, and 1 takes every step by messages; None for the default.

    Raises:
        WorkloadError: The function is not async or does not take one argument, or an option is
            not of its type.
        ConfigError: `until` is no time.
    """
    given: dict[str, tuple[object, type | UnionType, str]] = {
        "machine": (machine, MachineSpec | str, "a preset, a TOML file or a MachineSpec"),
        "settings": (settings, Mapping, 'tunables such as {"vm.swappiness": 10}'),
        "burst_pages": (burst_pages, int, "a whole number"),
    }
    for name, (value, kind, rule) in given.items():
        if value is not None and not isinstance(value, kind):
            raise WorkloadError(f"{name} = {shown(value)}: must be {rule}")
    if until is not None:
        parse_duration(until, key="until")
    chosen = dict(settings or {})
    for key in chosen:
        if not isinstance(key, str):
            raise WorkloadError(f"settings = {shown(chosen)}: {key!r} is no name of a tunable")

    def mark(function: Main) -> Workload:
        return Workload(_checked(function), "machine", machine, until, chosen, burst_pages)

    return mark if function is None else mark(function)


def load_workload(path: Path) -> Workload:
    """Import a Python file and return the one workload in it.

    Nothing is written beside the file. Modules in its directory can be imported, as by a program.

    Raises:
        WorkloadError: No such file, no workload in it or several, or importing it raised.
    """
    try:
        source = path.read_bytes()
    except OSError as error:
        raise WorkloadError(error.strerror or str(error), path) from None
    module = ModuleType(MODULE_PREFIX + path.stem)
    module.__file__ = str(path)
    sys.modules[module.__name__] = module
    sys.path.insert(0, str(path.resolve().parent))
    try:
        exec(_compiled(source, path), module.__dict__)  # noqa: S102 - the file is a program
    except Interrupted:
        raise
    except BaseException as error:
        mistake = workload_mistake(error, path)
        if mistake is None:
            raise
        raise mistake from error
    finally:
        sys.path.remove(str(path.resolve().parent))
    return _with_source(_only_workload(module, path), source, path)


def _with_source(found: Workload, source: bytes, path: Path) -> Workload:
    tree = ast.parse(source)
    given = "machine" if found.kind == "machine" else "engine"
    warnings = foreign_imports(tree, path, given)
    return attrs.evolve(found, expect_lines=expect_lines(tree), warnings=warnings)


def workload_mistake(error: BaseException, path: Path) -> WorkloadError | None:
    """Return an exception of a workload as its author's mistake, with the line it came from.

    Returns:
        None if the exception was raised by our own code, which may not be the author's fault; but
        a user error is always one of the file's. What other code raises that the file calls is
        the author's.
    """
    told = telling(error)
    if isinstance(told, Interrupted):
        return None
    if isinstance(told, StuckError):
        return told.mistake
    if isinstance(told, ForgottenAwaitError):
        return _forgotten(told, path)
    frames = traceback.extract_tb(told.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(path)]
    if not lines:  # a call of ours, made by a nursery of the author's
        around = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in around if frame.filename == str(path)]
    error = told
    if isinstance(error, UserError | OutcomeError):
        if isinstance(error, WorkloadError) and error.file is not None:
            return error
        if isinstance(error, RecordingError) and str(error.file) == str(path):
            return WorkloadError(error.rule, path, error.line)
        return WorkloadError(str(error), path, lines[-1] if lines else None)
    for frame in reversed(frames):
        if frame.filename == str(path):
            return WorkloadError(_described(error), path, lines[-1])
        if is_ours(frame.filename):
            return None
    return None


def telling(error: BaseException) -> BaseException:
    """Return what a person has to know of an error: the cause of a crash, the first of a group.

    The order of a group is that in which trio ran the tasks, by chance; so it is not the first in
    that order, but by text.
    """
    if isinstance(error, ActorCrashedError) and error.__cause__ is not None:
        return telling(error.__cause__)
    if isinstance(error, BaseExceptionGroup):
        parts = [telling(part) for part in error.exceptions]
        return min(parts, key=lambda part: (isinstance(part, trio.Cancelled), described(part)))
    return error


def _forgotten(error: ForgottenAwaitError, path: Path) -> WorkloadError:
    """Return the error with the line of the call, which may be long over when it is found out."""
    try:
        lines = lines_without_await(ast.parse(path.read_bytes()), error.call)
    except (OSError, SyntaxError, ValueError):
        lines = ()
    if str(error.file) == str(path) and (not lines or error.line in lines):
        return error
    return ForgottenAwaitError(error.call, path, lines[0] if lines else None)


def _checked(function: Main) -> Main:
    if not inspect.iscoroutinefunction(function):
        code = getattr(function, "__code__", None)
        place = (code.co_filename, code.co_firstlineno) if isinstance(code, CodeType) else ()
        raise WorkloadError("a workload is an async function: async def main(…)", *place)
    try:
        inspect.signature(function).bind(None)
    except TypeError as error:
        code = function.__code__
        rule = f"a workload takes one argument, as in async def main(machine): {error}"
        raise WorkloadError(rule, code.co_filename, code.co_firstlineno) from None
    return function


def _compiled(source: bytes, path: Path) -> CodeType:
    try:
        return compile(source, str(path), "exec", dont_inherit=True)
    except SyntaxError as error:
        raise WorkloadError(f"{type(error).__name__}: {error.msg}", path, error.lineno) from None
    except ValueError as error:  # a byte of zero
        raise WorkloadError(str(error), path) from None


def _only_workload(module: ModuleType, path: Path) -> Workload:
    found = {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, Workload) and value.function.__module__ == module.__name__
    }
    names = {value.function.__qualname__: name for name, value in found.items()}
    if not names:
        raise WorkloadError(
            "no workload in it: mark a function with @workload or @simulation", path
        )
    if len(names) > 1:
        listed = ", ".join(sorted(names.values()))
        raise WorkloadError(f"{len(names)} workloads in it ({listed}): keep one a file", path)
    return next(iter(found.values()))


def _described(error: BaseException) -> str:
    text = str(error)
    told = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return ", ".join([told, *getattr(error, "__notes__", ())])
