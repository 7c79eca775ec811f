"""How jemalloc lets free pages age: what may stay falls along a smooth curve over ten seconds.

Time goes in 200 epochs. Each notes how many dirty pages were new in it; the older they are, the
fewer of them may stay. An epoch ends only when somebody looks, at a random moment after its time.

Interface: `Decay`.
Source: jemalloc 5.3.0 src/decay.c, smoothstep.h.
"""

from typing import Final

from kernelsim.user.malloc.jemalloc_base import Prng

SMOOTHSTEP_NSTEPS: Final = 200
SMOOTHSTEP_BFP: Final = 24
MILLISECOND: Final = 1_000_000


def _smoothstep(step: int) -> int:
    """Return 6x⁵ - 15x⁴ + 10x³ at x = step / 200, in 24 binary places."""
    n = SMOOTHSTEP_NSTEPS
    polynomial = step**3 * (6 * step**2 - 15 * step * n + 10 * n**2)
    return (polynomial << SMOOTHSTEP_BFP) // n**5


H_STEPS: Final = [_smoothstep(step) for step in range(1, SMOOTHSTEP_NSTEPS + 1)]


class Decay:
    """The dirty pages of an arena over time.

    Attributes:
        decay_ms: How long until the last page goes; 0 for at once.
        npages_limit: How many may stay now.
    """

    def __init__(self, now_ns: int, decay_ms: int, jitter_state: int) -> None:
        self.decay_ms = decay_ms
        self._interval = decay_ms * MILLISECOND // SMOOTHSTEP_NSTEPS
        self._epoch = now_ns
        self._jitter = Prng(jitter_state)
        self._deadline = self._new_deadline()
        self._nunpurged = 0
        self._backlog = [0] * SMOOTHSTEP_NSTEPS
        self.npages_limit = 0

    def _new_deadline(self) -> int:
        if not self._interval:
            return self._epoch
        return self._epoch + self._interval + self._jitter.range(self._interval)

    def maybe_advance_epoch(self, now_ns: int, npages: int) -> bool:
        """Go on to the present epoch if its time has come; return whether it had."""
        if now_ns < self._deadline:
            return False
        advance = (now_ns - self._epoch) // self._interval
        self._epoch += advance * self._interval
        self._deadline = self._new_deadline()
        passed = min(advance, SMOOTHSTEP_NSTEPS)
        self._backlog = self._backlog[passed:] + [0] * passed
        self._backlog[-1] = max(npages - self._nunpurged, 0)
        self.npages_limit = (
            sum(pages * h for pages, h in zip(self._backlog, H_STEPS, strict=True))
            >> SMOOTHSTEP_BFP
        )
        self._nunpurged = max(self.npages_limit, npages)
        return True
