"""Write plain data as TOML and read it back with errors that name file and line.

It writes what machine files need: tables, arrays of tables, nested arrays of numbers, strings.
Interface: `read_toml(path)` and `toml_text(table)`; `value_text(value)` for one value;
`read_text` refuses what is no UTF-8 text.
"""

from __future__ import annotations

import json
import re
import tomllib
from typing import TYPE_CHECKING, Any

from kernelsim.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["read_text", "read_toml", "toml_text", "value_text"]

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_AT_LINE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")


def read_text(path: Path) -> str:
    """Return the text of a file.

    Raises ConfigError naming the file when it cannot be read or is not UTF-8 text.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError("file", path.name, error.strerror or "cannot be read", path) from None
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        rule = f"must be UTF-8 text; byte {error.start} is not"
        raise ConfigError("file", path.name, rule, path) from None
    if "\0" in text:
        rule = f"must be UTF-8 text; byte {data.index(0)} is NUL"
        raise ConfigError("file", path.name, rule, path)
    return text


def read_toml(path: Path) -> dict[str, Any]:
    """Return the table of a TOML file.

    Raises ConfigError with file, line and the line's text when it is not TOML.
    """
    text = read_text(path)
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        match = _AT_LINE.search(message)
        lines = text.splitlines() or [""]
        number = int(match[1]) if match is not None and match[1] else len(lines)
        line = lines[min(number, len(lines)) - 1]
        rule = f"not TOML: {_AT_LINE.sub('', message)}"
        raise ConfigError(f"line {number}", line, rule, path) from None
    except (ValueError, RecursionError):
        rule = "not TOML: a number or a nesting has no end"
        raise ConfigError("file", path.name, rule, path) from None


def toml_text(table: Mapping[str, Any]) -> str:
    """Return a table as TOML text; values that are None are left out."""
    return "\n".join(_table_lines(table, prefix="")).lstrip("\n") + "\n"


def _table_lines(table: Mapping[str, Any], *, prefix: str) -> list[str]:
    """Return the lines of one table: its own values first, then the tables inside it."""
    lines: list[str] = []
    inner: list[str] = []
    for key, value in table.items():
        name = key if _BARE_KEY.fullmatch(key) else json.dumps(key, ensure_ascii=False)
        if value is None:
            continue
        if isinstance(value, dict):
            if value:
                inner += ["", f"[{prefix}{name}]", *_table_lines(value, prefix=f"{prefix}{name}.")]
        elif isinstance(value, list | tuple) and value and isinstance(value[0], dict):
            for item in value:
                inner += ["", f"[[{prefix}{name}]]"]
                inner += _table_lines(item, prefix=f"{prefix}{name}.")
        else:
            lines.append(f"{name} = {value_text(value)}")
    return lines + inner


def value_text(value: object) -> str:
    """Return a scalar or a nested array as TOML."""
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(value_text, value)) + "]"
    if isinstance(value, bool | int | str):
        return json.dumps(value, ensure_ascii=False)
    message = f"cannot write {type(value).__name__} as TOML"
    raise TypeError(message)
