"""What an entry of the table of system calls says, and the table.

Interface: a family makes `Call` entries; `CallTable` finds them by value, by name and by step.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Literal

import attrs

from kernelsim.actors.process.calls.caller import Caller
from kernelsim.actors.process.calls.effect import NO_EFFECT, Effect

Returns = Literal["nothing", "mapping", "number", "result"]
MmapLocking = Literal["none", "read", "write", "write_killable"]


@attrs.frozen(kw_only=True)
class Call:
    """One call.

    Attributes:
        name: As the C library has it.
        value: Class of the value that asks for it; its fields are the arguments.
        handler: Does it in the process's time; returns the answer.
        returns: What an answer that is no error means: nothing, the address of a mapping whose
            length is the value's, a number, or a result of its own.
        errors: Errnos it may answer with, negated.
        form: Its arguments in the words of portable scripts (script_steps.py), in the order of the
            fields: "region advice". A region is two fields, address and length; "new" is none, it
            names what the call maps. None where neither scripts nor `syscall` spell it.
        steps: The steps of scripts that make it, each with the fields it sets beyond its form.
        words: Of an argument that is a word, those that are simulated.
        effect: What it does to content.
        mmap_lock: How it holds the lock of its caller's address space, or a function of the value
            that tells that. Killable: a fatal signal ends the wait for it, and the call.
        is_program: The process runs on its CPU for it; else it only waits.
    """

    name: str
    value: type
    handler: Callable[[Caller, Any], Awaitable[Any]]
    returns: Returns = "nothing"
    errors: tuple[int, ...] = ()
    form: str | None = None
    steps: Mapping[str, Mapping[str, object]] = attrs.field(factory=dict)
    words: tuple[str, ...] = ()
    effect: Effect = NO_EFFECT
    mmap_lock: MmapLocking | Callable[[Any], MmapLocking] = "none"
    is_program: bool = True

    def mmap_locking(self, value: object) -> MmapLocking:
        """Return how a value that asks for the call has the lock held."""
        return self.mmap_lock(value) if callable(self.mmap_lock) else self.mmap_lock

    def errno_of(self, answer: object) -> int:
        """Return the errno an answer stands for; 0 if the call succeeded."""
        if not self.errors or not isinstance(answer, int) or answer >= 0:
            return 0
        assert -answer in self.errors, f"{self.name} answers {answer}, which is no error of its own"
        return -answer


class CallTable:
    """All calls.

    Args:
        families: Their entries.

    Attributes:
        by_value: Calls by the class of their value.
        by_name: Those that `syscall` spells.
        by_step: Those that scripts spell, by step.
    """

    def __init__(self, families: Iterable[Iterable[Call]]) -> None:
        self.by_value: dict[type, Call] = {}
        self.by_name: dict[str, Call] = {}
        self.by_step: dict[str, Call] = {}
        for family in families:
            for call in family:
                self.register(call)

    def register(self, call: Call) -> None:
        """Enter a call."""
        self.by_value[call.value] = call
        if call.form is not None:
            self.by_name[call.name] = call
            self.by_step.update(dict.fromkeys(call.steps, call))
