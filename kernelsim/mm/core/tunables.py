"""The tunables of a running machine, in their one place.

Linux: the variables kernel/sysctl.c points at, 6.1.
Interface: what obeys a tunable holds the machine's `Tunables` and read `now` when they need it;
actors/core/sysctl.py writes. What compiled code has to know is in rows of `Mem.zone` too, and
mm/page/zone_marks.py keeps it the same.
"""

import attrs

from kernelsim.config.sysctl import Sysctl


@attrs.define
class Tunables:
    """What is in force.

    Attributes:
        now: Their values; nothing in it is None once the machine has booted.
    """

    now: Sysctl
