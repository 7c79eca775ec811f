"""How often the kernel says the same thing: so many times in an interval, then no more.

Linux: lib/ratelimit.c:___ratelimit, include/linux/ratelimit_types.h, 6.1.
Interface: ask `RateLimit.allows` before each message.
Units: ns.
"""

from typing import Final

import attrs

from kernelsim.units import NS_PER_S

DEFAULT_RATELIMIT_INTERVAL_NS: Final = 5 * NS_PER_S
DEFAULT_RATELIMIT_BURST: Final = 10  # messages


@attrs.define
class RateLimit:
    """The state of one place that speaks.

    Attributes:
        begin_ns: When the interval began; None before the first message.
        printed: Messages let through since.
        missed: Messages kept back since.
        interval_ns: How long an interval is.
        burst: Messages let through in one.
    """

    interval_ns: int = DEFAULT_RATELIMIT_INTERVAL_NS
    burst: int = DEFAULT_RATELIMIT_BURST
    begin_ns: int | None = None
    printed: int = 0
    missed: int = 0

    def allows(self, now_ns: int) -> tuple[bool, int]:
        """Ask whether a message may be printed now.

        Returns:
            Whether it may, and how many were kept back in an interval that is over: the kernel
            says so first.

        Source: Linux 6.1 lib/ratelimit.c:___ratelimit
        """
        suppressed = 0
        if self.begin_ns is None:
            self.begin_ns = now_ns
        if now_ns > self.begin_ns + self.interval_ns:
            suppressed = self.missed
            self.begin_ns, self.printed, self.missed = now_ns, 0, 0
        if self.printed < self.burst:
            self.printed += 1
            return True, suppressed
        self.missed += 1
        return False, suppressed
