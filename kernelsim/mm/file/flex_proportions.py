"""Which share of recent events each of several sources had; old events count less and less.

Linux: lib/flex_proportions.c, 6.1.
An event counts fully in the period it happens in, half in the next, a quarter in the one after: the
counts of all are halved when a period ends. A source halves its own when it is next looked at.
Interface: one `FpropGlobal`, a `FpropLocal` a source. Units: events, periods.
"""

from typing import Final

import attrs

FPROP_FRAC_SHIFT: Final = 10
FPROP_FRAC_BASE: Final = 1 << FPROP_FRAC_SHIFT
BITS_PER_LONG: Final = 64


@attrs.define(eq=False)
class FpropLocal:
    """One source: its events, as old as `period`."""

    events: int = 0
    period: int = 0


@attrs.define(eq=False)
class FpropGlobal:
    """All sources together.

    Attributes:
        events: Of all of them. One from the start, so that there is a sum to divide by.
        period: Number of the present period.
    """

    events: int = 1
    period: int = 0

    def new_period(self, periods: int) -> bool:
        """End so many periods; tell whether any event still counts.

        Source: Linux 6.1 lib/flex_proportions.c:fprop_new_period
        """
        if self.events <= 1:
            return False
        self.events = self.events >> periods if periods < BITS_PER_LONG else 0
        self.period += periods
        return True

    def add(self, local: FpropLocal, nr: int, max_frac: int = FPROP_FRAC_BASE) -> None:
        """Count events of a source, at most until it has `max_frac` / 1024 of all.

        Source: Linux 6.1 lib/flex_proportions.c:__fprop_add_percpu_max
        """
        if max_frac < FPROP_FRAC_BASE:
            numerator, denominator = self.fraction(local)
            room = denominator * max_frac - (numerator << FPROP_FRAC_SHIFT)
            if room < 0:
                return
            rest = FPROP_FRAC_BASE - max_frac
            if room < nr * rest:
                nr = (room + rest - 1) // rest
        self._reflect_period(local)
        local.events += nr
        self.events += nr

    def fraction(self, local: FpropLocal) -> tuple[int, int]:
        """Return a source's share as (numerator, denominator), at most 1.

        Source: Linux 6.1 lib/flex_proportions.c:fprop_fraction_percpu
        """
        self._reflect_period(local)
        numerator = max(local.events, 0)
        denominator = max(self.events, numerator, 1)
        return numerator, denominator

    def _reflect_period(self, local: FpropLocal) -> None:
        age = self.period - local.period
        local.events = local.events >> age if age < BITS_PER_LONG else 0
        local.period = self.period
