"""The grid of a sweep: each setting with each seed is a run.

    workload = "hog.py"                     # GRID.toml; paths are relative to it
    machine = ["tiny-64m", "mine.toml"]     # without: the workload's own
    mempolicy = ["local", "interleave:0-1"]
    seeds = "1-5"
    [set]
    "vm.swappiness" = [0, 60, 100]

What the command line says of an axis takes the place of what the file says.

Interface: `Grid`, its `jobs`; `read_grid`, `seeds_of`, `settings_of`.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, Final

import attrs

from kernelsim.config.sysctl_write import parse_value
from kernelsim.config.toml_text import read_toml
from kernelsim.errors import ConfigError
from kernelsim.machine import require_burst_pages
from kernelsim.units import parse_duration

KEYS: Final = ("workload", "machine", "mempolicy", "seeds", "set", "burst_pages", "until")
MACHINE: Final = "machine"
MEMPOLICY: Final = "mempolicy"
RUNS_MAX: Final = 100_000


@attrs.frozen(kw_only=True)
class Grid:
    """What is swept.

    Attributes:
        workload: The file.
        machines: Presets or TOML files; empty for the workload's own.
        mempolicies: Memory policies of processes that ask for none; empty for the default.
        settings: Values by tunable, in the order given.
        seeds: Each setting runs with each of them.
        burst_pages: As of `kernelsim run`.
        until: As of `kernelsim run`.
    """

    workload: Path
    machines: tuple[str, ...] = ()
    mempolicies: tuple[str, ...] = ()
    settings: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)
    seeds: tuple[int, ...] = (1,)
    burst_pages: int | None = None
    until: str | None = None

    @property
    def axes(self) -> dict[str, tuple[str, ...]]:
        """What varies, or is set, by name: machine, mempolicy, then tunables."""
        named = {MACHINE: self.machines, MEMPOLICY: self.mempolicies, **self.settings}
        return {name: values for name, values in named.items() if values}

    @property
    def points(self) -> list[dict[str, str]]:
        """Each setting: a value an axis. The last axis varies first."""
        names = list(self.axes)
        return [dict(zip(names, values, strict=True)) for values in product(*self.axes.values())]

    def jobs(self) -> Iterator[dict[str, Any]]:
        """Yield each run as plain JSON values: setting by setting, seed by seed."""
        number = 0
        for point in self.points:
            for seed in self.seeds:
                yield {
                    "run": number,
                    "workload": str(self.workload),
                    "point": point,
                    "seed": seed,
                    "burst_pages": self.burst_pages,
                    "until": self.until,
                }
                number += 1

    def require_sound(self) -> None:
        """Refuse what is wrong whatever the workload and the machine are.

        Raises:
            ConfigError: No such tunable, or a wrong value; there are too many runs.
        """
        for name, values in self.settings.items():
            for value in values:
                parse_value(name, value)
        if self.until is not None:
            parse_duration(self.until, key="--until")
        if self.burst_pages is not None:
            require_burst_pages(self.burst_pages)
        for name, values in self.axes.items():
            if len(values) != len(set(values)):
                raise ConfigError(name, ",".join(values), "must name each value once")
        nr_runs = len(self.points) * len(self.seeds)
        if not 1 <= nr_runs <= RUNS_MAX:
            raise ConfigError("sweep", nr_runs, f"must be 1 to {RUNS_MAX} runs")


def read_grid(path: Path) -> Grid:
    """Read a grid from a TOML file.

    Raises:
        ConfigError: It is none.
    """
    table = read_toml(path)
    for key, value in table.items():
        if key not in KEYS:
            raise ConfigError(key, value, f"must be one of {', '.join(KEYS)}", path)
    if not isinstance(table.get("workload"), str):
        raise ConfigError("workload", table.get("workload"), "must name a file", path)
    chosen = table.get("set", {})
    if not isinstance(chosen, dict):
        raise ConfigError("set", chosen, "must be a table of tunables", path)
    burst_pages = table.get("burst_pages", 1)
    if type(burst_pages) is not int:
        raise ConfigError("burst_pages", burst_pages, "must be a whole number", path)
    machines = [beside(path, name) for name in axis_of("machine", table, path)]
    try:
        return Grid(
            workload=path.parent / table["workload"],
            machines=tuple(machines),
            mempolicies=axis_of("mempolicy", table, path),
            settings={name: texts_of(name, values, path) for name, values in chosen.items()},
            seeds=seeds_of(str(table.get("seeds", "1")), key="seeds"),
            burst_pages=table.get("burst_pages"),
            until=table.get("until"),
        )
    except ConfigError as error:
        raise ConfigError(error.key, error.value, error.rule, path) from None


def beside(path: Path, name: str) -> str:
    """Return a machine's name, relative to the grid's file if it is a file's."""
    return str(path.parent / name) if name.endswith(".toml") else name


def axis_of(key: str, table: Mapping[str, Any], path: Path) -> tuple[str, ...]:
    """Return the values of an axis that a grid may leave out."""
    return texts_of(key, table[key], path) if key in table else ()


def texts_of(key: str, values: object, path: Path) -> tuple[str, ...]:
    """Return the values of an axis as texts.

    Raises:
        ConfigError: They are no values.
    """
    listed = values if isinstance(values, list) else [values]
    if not listed or not all(isinstance(value, str | int) for value in listed):
        raise ConfigError(key, values, "must be a value, or a list of them", path)
    return tuple(str(int(value) if isinstance(value, bool) else value) for value in listed)


def settings_of(words: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Read words such as `vm.swappiness=0,60,100`.

    Raises:
        ConfigError: The form is wrong, or a tunable is named twice.
    """
    found: dict[str, tuple[str, ...]] = {}
    for word in words:
        name, equals, values = word.partition("=")
        if not equals or not values or name in found:
            rule = "must be KEY=VALUE,VALUE, as vm.swappiness=0,60,100, and each key once"
            raise ConfigError("--set", word, rule)
        found[name.strip()] = tuple(value.strip() for value in values.split(","))
    return found


def seeds_of(text: str, *, key: str = "--seeds") -> tuple[int, ...]:
    """Read seeds such as `1-5` or `1,7,9-12`.

    Raises:
        ConfigError: They are none, or one is there twice.
    """
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        last = last if dash else first
        if not (first.isdecimal() and last.isdecimal()) or not (
            0 <= int(last) - int(first) < RUNS_MAX
        ):
            raise ConfigError(key, text, "must be whole numbers such as 1-5 or 1,7,9-12")
        found += range(int(first), int(last) + 1)
    if len(found) != len(set(found)):
        raise ConfigError(key, text, "must name each seed once")
    return tuple(found)
