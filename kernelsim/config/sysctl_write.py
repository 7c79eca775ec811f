"""Read values of tunables, and write them: what is refused, and what a write does to other keys.

Linux: kernel/sysctl.c and the proc handlers named below, 6.1; a value that breaks a rule is EINVAL
there.
Interface: `parse_setting("vm.swappiness=10")` reads one `--set`; `write_sysctl` returns the
tunables after a write. A machine file or a recorded listing is no series of writes but the state
at boot: `with_settings` and `sysctl_from_text` take that over. `sysctl_text` is the way back.
Units: as the kernel's.
"""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any, Final

import attrs

from kernelsim.config.era import LINUX_6_1, Era
from kernelsim.config.sysctl import SYSCTLS, Sysctl, SysctlEntry, SysctlValue
from kernelsim.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "parse_setting",
    "parse_value",
    "require_era",
    "rule_of",
    "sysctl_from_text",
    "sysctl_text",
    "with_settings",
    "write_sysctl",
    "write_sysctls",
]

DIGITS_MAX: Final = 20  # of a number of 64 bits; Python refuses to convert very many
HIGH_FRACTION_MIN: Final = 8  # mm/page_alloc.c:MIN_PERCPU_PAGELIST_HIGH_FRACTION
EXCLUDES: Final = {  # of each pair one is 0
    "vm.dirty_bytes": "vm.dirty_ratio",
    "vm.dirty_background_bytes": "vm.dirty_background_ratio",
    "vm.dirty_ratio": "vm.dirty_bytes",
    "vm.dirty_background_ratio": "vm.dirty_background_bytes",
    "vm.overcommit_ratio": "vm.overcommit_kbytes",
    "vm.overcommit_kbytes": "vm.overcommit_ratio",
}
# The last one written of these is in force, even if what was written is 0.
CLEARS: Final = {key: other for key, other in EXCLUDES.items() if "overcommit" in key}


def parse_setting(text: str) -> tuple[str, SysctlValue]:
    """Return (key, value) of one `--set vm.swappiness=10`.

    Raises ConfigError when the form is wrong, the key unknown or the value out of range.
    """
    name, equals, value = text.partition("=")
    if not equals:
        raise ConfigError("--set", text, "must have the form KEY=VALUE, as vm.swappiness=10")
    return name.strip(), parse_value(name.strip(), value.strip())


def parse_value(name: str, value: object, era: Era = LINUX_6_1) -> SysctlValue:
    """Return a value of this key, checked against the table.

    Args:
        name: the kernel's key, `vm.swappiness`.
        value: an int, a sequence of ints, or text as /proc/sys shows it.
        era: some keys have another range in another one.

    Raises ConfigError naming key, value and rule.
    """
    entry = SYSCTLS.get(name)
    if entry is None:
        near = difflib.get_close_matches(name, SYSCTLS, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(name, value, f"no such sysctl{hint}")
    if entry.words:
        if value not in entry.words:
            raise ConfigError(name, value, rule_of(entry, era))
        return str(value)
    if isinstance(entry.default, tuple):
        items = value.split() if isinstance(value, str) else value
        if not isinstance(items, list | tuple) or not 1 <= len(items) <= len(entry.default):
            raise ConfigError(name, value, rule_of(entry, era))
        # As lowmem_reserve_ratio_sysctl_handler does with what is below 1.
        return tuple(max(_checked_int(entry, item, era), 0) for item in items)
    number = _checked_int(entry, entry.aliases.get(str(value), value), era) & entry.mask
    if name == "vm.percpu_pagelist_high_fraction" and 0 < number < HIGH_FRACTION_MIN:
        raise ConfigError(name, value, rule_of(entry, era))
    return number


def _checked_int(entry: SysctlEntry, value: object, era: Era) -> int:
    """Return the value as an int inside the key's range, or raise ConfigError."""
    number: int | None = None
    if isinstance(value, int) and not isinstance(value, bool):
        number = value
    elif isinstance(value, str):
        number = _c_number(value)
    minimum, maximum = entry.limits(era)
    if number is None or not minimum <= number <= maximum:
        raise ConfigError(entry.name, value, f"must be {_range_of(entry, era)}")
    return number


def _range_of(entry: SysctlEntry, era: Era) -> str:
    minimum, maximum = entry.limits(era)
    return f"a whole number from {minimum} to {maximum} ({entry.unit})"


def rule_of(entry: SysctlEntry, era: Era = LINUX_6_1) -> str:
    """Return what a value of this key must be in an era."""
    if entry.words:
        return "must be " + " or ".join(entry.words)
    if isinstance(entry.default, tuple):
        return f"must be 1 to {len(entry.default)} numbers, one a zone, lowest zone first"
    if entry.name == "vm.percpu_pagelist_high_fraction":
        return f"must be 0 or at least {HIGH_FRACTION_MIN}"
    return f"must be {_range_of(entry, era)}"


def _c_number(text: str) -> int | None:
    """Return the number a text means to the kernel: decimal, 0x… or octal with a leading 0."""
    match = re.fullmatch(r"(-?)(?:0[xX]([0-9a-fA-F]+)|0([0-7]+)|([1-9][0-9]*|0))", text)
    if match is None or len(text) > DIGITS_MAX + len("-0x"):
        return None
    sign, hexadecimal, octal, decimal = match.groups()
    digits, base = (hexadecimal, 16) if hexadecimal else (octal, 8) if octal else (decimal, 10)
    return -int(digits, base) if sign else int(digits, base)


def with_settings(sysctl: Sysctl, settings: Mapping[str, object]) -> Sysctl:
    """Return a copy with these keys set, in their order.

    Setting a byte limit clears its ratio and the other way round, as the kernel does: the last
    one written of dirty_ratio and dirty_bytes (and of the background pair) is the one in force.

    Raises ConfigError naming key, value and rule.
    Source: Linux 6.1 mm/page-writeback.c:dirty_ratio_handler, mm/util.c:overcommit_ratio_handler
    """
    changes: dict[str, Any] = {}
    for name, raw in settings.items():
        value = parse_value(name, raw)
        changes[SYSCTLS[name].attribute] = value
        other = EXCLUDES.get(name)
        if other is not None and value != 0:
            changes[SYSCTLS[other].attribute] = 0
    return attrs.evolve(sysctl, **changes)


def sysctl_from_text(values: Mapping[str, str]) -> Sysctl:
    """Return the tunables of a recorded listing, key to text; unknown keys are left out.

    Raises ConfigError when a known key holds what the table does not allow.
    """
    return with_settings(Sysctl(), {n: text for n, text in values.items() if n in SYSCTLS})


def sysctl_text(entry: SysctlEntry, value: SysctlValue) -> str:
    """Return a value of a key as the kernel shows it.

    Numbers of a list are parted by tabs; None gives "".
    """
    if value is None:
        return ""
    if isinstance(value, tuple):
        return "\t".join(map(str, value))
    return entry.text_format.format(value)


def require_era(sysctl: Sysctl, era: Era) -> None:
    """Check tunables a machine boots with against the ranges that are an era's own.

    Raises ConfigError for the first that is out of its range.
    """
    for name in era.sysctl_maximum:
        try:
            parse_value(name, getattr(sysctl, SYSCTLS[name].attribute), era)
        except ConfigError as error:
            rule = f"{error.rule} in the era {era.name}"
            raise ConfigError(f"sysctl.{name}", error.value, rule) from None


def write_sysctl(sysctl: Sysctl, name: str, raw: object, era: Era = LINUX_6_1) -> Sysctl:
    """Return the tunables after a write to one of them.

    Fewer numbers than a list has are written over its first ones; the others stay.

    Args:
        sysctl: The tunables in force.
        name: The kernel's key, `vm.swappiness`.
        raw: An int, a sequence of ints, or text as it is written to /proc/sys.
        era: Of the kernel.

    Raises ConfigError naming key, value and rule.
    Source: Linux 6.1 kernel/sysctl.c:proc_dointvec, mm/util.c:overcommit_kbytes_handler
    """
    value = parse_value(name, raw, era)
    if isinstance(value, tuple):
        now = getattr(sysctl, SYSCTLS[name].attribute)
        value = (*value, *now[len(value) :])
    changed = with_settings(sysctl, {name: value})
    other = CLEARS.get(name)
    cleared: dict[str, Any] = {SYSCTLS[other].attribute: 0} if other else {}
    return attrs.evolve(changed, **cleared)


def write_sysctls(sysctl: Sysctl, settings: Mapping[str, object], era: Era = LINUX_6_1) -> Sysctl:
    """Return the tunables after these writes, in their order; raises as `write_sysctl`."""
    for name, raw in settings.items():
        sysctl = write_sysctl(sysctl, name, raw, era)
    return sysctl
