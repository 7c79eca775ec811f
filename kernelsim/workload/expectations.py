"""What a workload states must hold, and whether it did.

An expectation that does not hold stops nothing: the workload goes on, all others are evaluated,
and the run ends with exit status 1. One line of a workload is one expectation, however often it
is reached.

Interface: `Expectations.state` for `Machine.expect`; `lines`, `failed` and `require` for
reports. Units: ns.
"""

import inspect
from collections.abc import Iterator
from typing import Any

import attrs

from kernelsim.errors import CheckFailedError, WorkloadError, shown
from kernelsim.sim.places import calling_place
from kernelsim.units import format_duration

RULE = 'expect takes a condition and a text, as in expect(x > 0, "x is positive")'


@attrs.define
class Expectation:
    """One line of a workload that states something.

    Attributes:
        file: Of the workload.
        line: In that file.
        text: What must hold, in the author's words; empty if there are none.
        nr_held: How often it held.
        nr_failed: How often it did not.
        failed_ns: Virtual time at which it first did not hold.
    """

    file: str
    line: int
    text: str
    nr_held: int = 0
    nr_failed: int = 0
    failed_ns: int = 0

    def told(self) -> str:
        """Return the place, the text and when it first failed, as a person reads it."""
        what = self.text or "what is expected there does not hold"
        times = self.nr_held + self.nr_failed
        often = "" if times == 1 else f", {self.nr_failed} of {times} times"
        return f"{self.file}:{self.line}: {what} (at {format_duration(self.failed_ns)}{often})"


@attrs.define
class Expectations:
    """All expectations of one run, in the order in which they were first reached."""

    _by_place: dict[tuple[str, int, str], Expectation] = attrs.field(factory=dict, init=False)

    def __iter__(self) -> Iterator[Expectation]:
        return iter(self._by_place.values())

    @property
    def failed(self) -> list[Expectation]:
        """Those that did not hold at least once."""
        return [each for each in self if each.nr_failed]

    def state(self, condition: Any, text: str, now_ns: int) -> bool:  # noqa: ANN401 - a truth
        """Keep whether a condition holds, and return it.

        Raises:
            WorkloadError: The condition is a text or something to call or await, whose truth
                says nothing, or has none; or the text is no text.
        """
        no_truth = isinstance(condition, str | bytes) or callable(condition)
        if no_truth or inspect.isawaitable(condition) or not isinstance(text, str):
            if inspect.iscoroutine(condition):
                condition.close()
            raise WorkloadError(f"{RULE}, not expect({shown(condition)}, {shown(text)})")
        try:
            holds = bool(condition)
        except (TypeError, ValueError):  # an array of several
            raise WorkloadError(f"{RULE}; {shown(condition)} is neither true nor false") from None
        file, line = calling_place()
        each = self._by_place.setdefault((file, line, text), Expectation(file, line, text))
        each.nr_held += holds
        each.nr_failed += not holds
        if each.nr_failed == 1 and not holds:
            each.failed_ns = now_ns
        return holds

    def require(self) -> None:
        """Raise CheckFailedError, which names all that failed, if any did."""
        if self.failed:
            raise CheckFailedError("; ".join(f"FAILED {each.told()}" for each in self.failed))
