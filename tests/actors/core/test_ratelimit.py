"""Ten messages in five seconds, then silence until they are over."""

from kernelsim.actors.core.ratelimit import RateLimit
from kernelsim.units import NS_PER_S


def test_ten_are_printed_in_an_interval():
    """The others are kept back, and their number is told with the first of the next interval."""
    limit = RateLimit()
    asked = [limit.allows(7 + second * NS_PER_S // 4) for second in range(14)]
    assert asked == [(True, 0)] * 10 + [(False, 0)] * 4
    assert limit.allows(7 + 5 * NS_PER_S) == (False, 0)
    assert limit.allows(8 + 5 * NS_PER_S) == (True, 5)
    assert limit.allows(9 + 5 * NS_PER_S) == (True, 0)
