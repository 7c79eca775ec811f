"""Which actors are watched for progress, and which made none for too long. Units: ns."""

import attrs

from kernelsim.sim.event import FOREVER_NS


@attrs.define
class Watches:
    """The watched actors of one run.

    Attributes:
        limits_ns: Time without progress that is too long, by name.
        since_ns: Time of the last progress, or of the beginning, by name.
    """

    limits_ns: dict[str, int] = attrs.field(factory=dict)
    since_ns: dict[str, int] = attrs.field(factory=dict)

    def add(self, name: str, limit_ns: int, now_ns: int) -> None:
        """Watch an actor from now on."""
        self.limits_ns[name] = limit_ns
        self.since_ns[name] = now_ns

    def remove(self, name: str) -> bool:
        """Stop watching an actor; return whether it was watched."""
        self.limits_ns.pop(name, None)
        return self.since_ns.pop(name, None) is not None

    def note(self, name: str, now_ns: int) -> None:
        """Record progress of an actor, if it is watched."""
        if name in self.since_ns:
            self.since_ns[name] = now_ns

    def due_ns(self) -> int:
        """Return the first time at which an actor may have made no progress for too long."""
        due = (self.since_ns[name] + limit_ns for name, limit_ns in self.limits_ns.items())
        return min(due, default=FOREVER_NS)

    def stuck(self, now_ns: int) -> dict[str, int]:
        """Return which actors made no progress for too long, and since when."""
        return {
            name: since_ns
            for name, since_ns in self.since_ns.items()
            if now_ns - since_ns >= self.limits_ns[name]
        }
