"""The rows of the tour: what the mission asks for, what shows it, and what to look at.

Source: `tour.toml` beside the workloads, one table a row of the mission, in the order of the study
that it comes from. What is shown to people is there in English and, with `_zh`, in Chinese. What
a command prints is English: for its figure `tour_zh.toml` has a list a row of pairs, an expression
and what is put for it in a line of the figure.
Interface: `read_rows`.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import attrs

from kernelsim.errors import ConfigError, UserError

FILE: Final = "tour.toml"
WORDS_FILE: Final = "tour_{}.toml"  # by language
LANGUAGES: Final = ("en", "zh")
STATES: Final = ("works", "partly", "open")
SHOWN: Final = ("what", "note", "linux", "look", "missing")  # each in every language
PLAIN: Final = ("state", "run", "ours")
GROUP: Final = re.compile(r"\\(\d+)")  # in what is put for an expression
Swaps = tuple[tuple[re.Pattern[str], str], ...]


@attrs.frozen(kw_only=True)
class TourRow:
    """One row of the mission.

    Attributes:
        name: "P15".
        state: Of STATES.
        run: What shows it, as behind `kernelsim`; "" if nothing does yet.
        ours: A regular expression for the lines of its output that are the row's figure.
        texts: What people read, by (kind of SHOWN, language); without those that are not there.
        swaps: What is put for what in a line of its figure, in turn, by language.
    """

    name: str
    state: str
    run: str
    ours: str
    texts: Mapping[tuple[str, str], str]
    swaps: Mapping[str, Swaps] = attrs.field(factory=dict)

    def text(self, kind: str, language: str) -> str:
        """Return a text of the row; "" if it has none."""
        return self.texts.get((kind, language), "")

    def line(self, printed: str, language: str) -> str:
        """Return a line of its figure in a language."""
        for pattern, put in self.swaps.get(language, ()):
            printed = pattern.sub(put, printed)
        return printed


def folder_of_workloads(given: Path | None) -> Path:
    """Return where the workloads are: as given, here, or beside the package's source.

    Raises:
        UserError: There are none.
    """
    here, source = Path("workloads"), Path(__file__).parents[2] / "workloads"
    for folder in (here, source) if given is None else (given,):
        if (folder / FILE).is_file():
            return folder.resolve()
    place = "./workloads" if given is None else given
    raise UserError(f"{place}: has no {FILE}: name the folder of workloads by --workloads DIR")


def read_rows(folder: Path) -> list[TourRow]:
    """Read all rows.

    Raises:
        ConfigError: One is not as it should be.
    """
    path = folder / FILE
    rows = [row_of(path, name, table) for name, table in read_table(path).items()]
    for language in LANGUAGES:
        words = folder / WORDS_FILE.format(language)
        if words.is_file():
            rows = translated(rows, words, language)
    return rows


def read_table(path: Path) -> dict[str, object]:
    """Read a file of TOML.

    Raises:
        UserError: It cannot be read.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error


def translated(rows: Sequence[TourRow], path: Path, language: str) -> list[TourRow]:
    """Return the rows with what is put for what in their figures.

    Raises:
        ConfigError: It says so of no row, or is no list of pairs, or an expression is wrong.
    """
    table = read_table(path)
    for name in table:
        if name not in {row.name for row in rows}:
            raise ConfigError(name, None, f"is no row of {FILE}", path)
    return [
        attrs.evolve(row, swaps={language: swaps_of(path, row.name, table.get(row.name, []))})
        for row in rows
    ]


def swaps_of(path: Path, name: str, pairs: object) -> Swaps:
    """Return the pairs of a row, checked."""
    rule = "must be a list of pairs: an expression, and what is put for it"
    if not isinstance(pairs, list):
        raise ConfigError(name, pairs, rule, path)
    found = []
    for pair in pairs:
        match pair:
            case [str(text), str(put)]:
                pass
            case _:
                raise ConfigError(name, pair, rule, path)
        try:
            pattern = re.compile(text)
        except re.error as error:
            raise ConfigError(name, text, f"is no expression: {error}", path) from error
        if any(int(group) > pattern.groups for group in GROUP.findall(put)):
            raise ConfigError(name, put, f"names a group that {text} has not", path)
        found.append((pattern, put))
    return tuple(found)


def row_of(path: Path, name: str, table: object) -> TourRow:
    """Return a row, checked."""
    if not isinstance(table, dict):
        raise ConfigError(name, table, "must be a table", path)
    suffixes = {"en": "", "zh": "_zh"}
    keys = {f"{kind}{suffixes[one]}": (kind, one) for kind in SHOWN for one in LANGUAGES}
    for key, value in table.items():
        if key not in (*keys, *PLAIN):
            raise ConfigError(f"{name}.{key}", value, "is no key of a row", path)
        if not isinstance(value, str):
            raise ConfigError(f"{name}.{key}", value, "must be text", path)
    texts = {keys[key]: value for key, value in table.items() if key in keys}
    for kind, _ in list(texts):
        for one in LANGUAGES:
            if (kind, one) not in texts:
                raise ConfigError(f"{name}.{kind}{suffixes[one]}", None, "must be there, too", path)
    row = TourRow(
        name=name,
        texts=texts,
        state=str(table.get("state", "")),
        run=str(table.get("run", "")),
        ours=str(table.get("ours", "")),
    )
    check_row(path, row)
    return row


def check_row(path: Path, row: TourRow) -> None:
    """Refuse a row that says too little.

    Raises:
        ConfigError: It names the key.
    """
    if row.state not in STATES:
        raise ConfigError(f"{row.name}.state", row.state, f"must be one of {STATES}", path)
    wanted = {"what": True, "look": bool(row.run), "missing": row.state == "partly"}
    for kind, is_wanted in wanted.items():
        if bool(row.text(kind, "en")) != is_wanted:
            rule = "must be there" if is_wanted else "has no place in this row"
            raise ConfigError(f"{row.name}.{kind}", row.text(kind, "en"), rule, path)
    if bool(row.run) == (row.state == "open") and row.state != "partly":
        rule = "must be there if the row works, and not if it is open"
        raise ConfigError(f"{row.name}.run", row.run, rule, path)
    try:
        re.compile(row.ours)
    except re.error as error:
        raise ConfigError(
            f"{row.name}.ours", row.ours, f"is no expression: {error}", path
        ) from error


def chosen_rows(rows: Sequence[TourRow], names: Sequence[str]) -> list[TourRow]:
    """Return the rows of some names, all of them for none, in the order of the tour.

    An area stands for its rows: P for P1, P2 …

    Raises:
        UserError: No row has that name.
    """
    wanted = [name.upper() for name in names]
    known = {row.name for row in rows} | {row.name[:1] for row in rows}
    for name, upper in zip(names, wanted, strict=True):
        if upper not in known:
            raise UserError(f"tour has no row {name} (kernelsim tour --list names them)")
    return [row for row in rows if not names or row.name in wanted or row.name[:1] in wanted]
