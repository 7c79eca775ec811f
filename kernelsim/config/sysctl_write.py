"""What a write to a tunable does to the tunables themselves, as the kernel's handlers do it.

Linux: the proc handlers named below, 6.1; a value that breaks a rule is EINVAL there.
Interface: `write_sysctl` returns a changed copy. A machine file or a recorded listing is no series
of writes but the state at boot: `with_settings` of sysctl.py takes that over.
Units: as the kernel's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs

from kernelsim.config.sysctl import SYSCTLS, Sysctl, parse_value, with_settings

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["write_sysctl", "write_sysctls"]

# The last one written of each pair is in force, even if what was written is 0.
_CLEARS: Final = {
    "vm.overcommit_ratio": "vm.overcommit_kbytes",
    "vm.overcommit_kbytes": "vm.overcommit_ratio",
}


def write_sysctl(sysctl: Sysctl, name: str, raw: object) -> Sysctl:
    """Return the tunables after a write to one of them.

    Fewer numbers than a list has are written over its first ones; the others stay.

    Args:
        sysctl: The tunables in force.
        name: The kernel's key, `vm.swappiness`.
        raw: An int, a sequence of ints, or text as it is written to /proc/sys.

    Raises ConfigError naming key, value and rule.
    Source: Linux 6.1 kernel/sysctl.c:proc_dointvec, mm/util.c:overcommit_kbytes_handler
    """
    value = parse_value(name, raw)
    if isinstance(value, tuple):
        now = getattr(sysctl, SYSCTLS[name].attribute)
        value = (*value, *now[len(value) :])
    changed = with_settings(sysctl, {name: value})
    other = _CLEARS.get(name)
    cleared: dict[str, Any] = {SYSCTLS[other].attribute: 0} if other else {}
    return attrs.evolve(changed, **cleared)


def write_sysctls(sysctl: Sysctl, settings: Mapping[str, object]) -> Sysctl:
    """Return the tunables after these writes, in their order; raises as `write_sysctl`."""
    for name, raw in settings.items():
        sysctl = write_sysctl(sysctl, name, raw)
    return sysctl
