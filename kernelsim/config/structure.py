"""Turn plain data into attrs values and back, strictly, with one-line errors.

Differs from bare cattrs: no silent conversions (2.5 is no int, "4" is no int, 1 is no bool), keys
that are unknown are refused with the nearest known one, and the first fault is told as
key = value.
Interface: `structure(data, cls)` and `unstructure(value)`; `flat_settings` reads tunables.
"""

from __future__ import annotations

import difflib
from typing import Any, TypeVar, get_origin

import attrs
import cattrs
from cattrs.errors import ClassValidationError, ForbiddenExtraKeysError, IterableValidationError
from cattrs.gen import make_dict_structure_fn

from kernelsim.config.era import ERAS, Era
from kernelsim.config.sysctl import SYSCTLS, Sysctl
from kernelsim.config.sysctl_write import with_settings
from kernelsim.config.zones import ZoneType
from kernelsim.errors import ConfigError, shown

__all__ = ["flat_settings", "structure", "unstructure"]

T = TypeVar("T")


def structure(data: dict[str, Any], cls: type[T], *, root: str = "") -> T:
    """Return `data` as an instance of the attrs class.

    Args:
        data: a table as tomllib gives it.
        cls: the attrs class of the table.
        root: text before every key of an error, with its dot.

    Raises ConfigError for the first fault: unknown key, missing key, wrong type or refused value.
    """
    try:
        return _CONVERTER.structure(data, cls)
    except (ClassValidationError, IterableValidationError) as group:
        raise _first_fault(group, path=root.rstrip("."), data=data) from None


def unstructure(value: object) -> dict[str, Any]:
    """Return an attrs value as plain data for TOML."""
    plain: dict[str, Any] = _CONVERTER.unstructure(value)
    return plain


def _make_converter() -> cattrs.Converter:
    """Return the converter with the strict hooks."""
    converter = cattrs.Converter(forbid_extra_keys=True)
    converter.register_structure_hook(int, _strict(int))
    converter.register_structure_hook(str, _strict(str))
    converter.register_structure_hook(bool, _strict(bool))
    converter.register_structure_hook(ZoneType, _zone_type)
    converter.register_structure_hook(Sysctl, _sysctl)
    converter.register_unstructure_hook(Sysctl, _sysctl_plain)
    converter.register_structure_hook_factory(attrs.has, lambda cls: _table(cls, converter))
    converter.register_structure_hook(Sysctl, _sysctl)
    converter.register_structure_hook(Era, _era)
    converter.register_unstructure_hook(Era, lambda era: era.name)
    return converter


def _table(cls: type[T], converter: cattrs.Converter) -> Any:  # noqa: ANN401 (a cattrs hook)
    """Return a hook that accepts tables only, and only known keys."""
    inner = make_dict_structure_fn(
        cls, converter, _cattrs_forbid_extra_keys=True, _cattrs_detailed_validation=True
    )

    fields: tuple[attrs.Attribute[Any], ...] = attrs.fields(cls)  # type: ignore[arg-type]  # has them
    lists = [field.name for field in fields if get_origin(field.type) is tuple]

    def hook(value: object, kind: type[T]) -> T:
        if not isinstance(value, dict):
            raise ConfigError("", value, "must be a table")
        for name in lists:
            if isinstance(value.get(name), str):  # to Python it is a list of letters
                raise ConfigError(name, value[name], "must be a list")
        return inner(value, kind)

    return hook


def _strict(kind: type[T]) -> Any:  # noqa: ANN401 (a cattrs hook)
    """Return a hook that accepts exactly this type."""
    names = {int: "a whole number", str: "text in quotes", bool: "true or false"}

    def hook(value: object, _: object) -> T:
        if type(value) is not kind:
            raise ConfigError("", value, f"must be {names[kind]}")
        if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
            raise ConfigError("", value, "must be a whole number of 64 bits")
        return value

    return hook


def _zone_type(value: object, _: object) -> ZoneType:
    """Read a zone type by its printed name."""
    for kind in ZoneType:
        if kind.value == value:
            return kind
    raise ConfigError("", value, f"must be one of {', '.join(kind.value for kind in ZoneType)}")


def _era(value: object, _: object) -> Era:
    """Read an era by its name."""
    if isinstance(value, str) and value in ERAS:
        return ERAS[value]
    raise ConfigError("", value, f"must be one of {', '.join(ERAS)}")


def _sysctl(value: object, _: object) -> Sysctl:
    """Read a table of kernel keys."""
    if not isinstance(value, dict):
        raise ConfigError("", value, "must be a table of sysctls")
    return with_settings(Sysctl(), flat_settings(value))


def flat_settings(table: dict[str, Any]) -> dict[str, Any]:
    """Return a table of tunables by the kernel's keys.

    Without quotes TOML takes `vm.swappiness = 10` for a table in a table; both mean the same.

    Raises ConfigError for a key that is given in both ways.
    """
    flat: dict[str, Any] = {}
    for key, value in table.items():
        inner = flat_settings(value) if isinstance(value, dict) else None
        pairs = {key: value} if inner is None else {f"{key}.{k}": v for k, v in inner.items()}
        for name, item in pairs.items():
            if name in flat:
                raise ConfigError(name, item, f"is given twice, and was {shown(flat[name])} before")
            flat[name] = item
    return flat


def _sysctl_plain(value: Sysctl) -> dict[str, Any]:
    """Write the tunables under the kernel's keys; computed ones are left out."""
    plain = {name: getattr(value, entry.attribute) for name, entry in SYSCTLS.items()}
    return {name: item for name, item in plain.items() if item is not None}


def _first_fault(error: BaseException, *, path: str, data: object) -> ConfigError:
    """Walk cattrs' tree of errors to the first leaf and name it."""
    if isinstance(error, ClassValidationError | IterableValidationError):
        forbidden: list[Exception] = [
            e for e in error.exceptions if isinstance(e, ForbiddenExtraKeysError)
        ]
        first = forbidden[0] if forbidden else error.exceptions[0]
        step, inner = _step(first, data)
        return _first_fault(first, path=_joined(path, step), data=inner)
    if isinstance(error, ForbiddenExtraKeysError):
        key = min(error.extra_fields)
        known = [field.name for field in attrs.fields(error.cl)]
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
        value = data.get(key) if isinstance(data, dict) else None
        return ConfigError(_joined(path, key), value, f"unknown key; {hint}")
    if isinstance(error, ConfigError):
        return ConfigError(_joined(path, error.key), error.value, error.rule)
    if isinstance(error, KeyError):
        return ConfigError(path, None, "the key is missing")
    if isinstance(error, ValueError):  # cattrs counts what a tuple of a fixed length is made of
        return ConfigError(path, data, "has too few entries, or too many")
    if isinstance(error, TypeError):  # all else is checked by hooks: something to iterate over
        return ConfigError(path, data, "must be a list")
    raise error


def _step(error: BaseException, data: object) -> tuple[str | int | None, object]:
    """Return the key or index cattrs noted on an error, and the data found there."""
    for note in getattr(error, "__notes__", ()):
        where = getattr(note, "name", getattr(note, "index", None))
        if isinstance(where, str | int):
            if isinstance(data, dict):
                return where, data.get(where)
            if isinstance(data, list | tuple) and isinstance(where, int):
                return where, data[where]
            return where, None
    return None, data


def _joined(path: str, step: str | int | None) -> str:
    """Return path extended by a key or an index: node[0].memory."""
    if step is None or step == "":
        return path
    if isinstance(step, int):
        return f"{path}[{step}]"
    return f"{path}.{step}" if path else step


_CONVERTER = _make_converter()
