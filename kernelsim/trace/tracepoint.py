"""What a tracepoint is: a frozen value whose class says Linux's name and fields.

A declaration reads

    class mm_vmscan_kswapd_sleep(Tracepoint, frozen=True):
        \"\"\"kswapd of a node goes to sleep.\"\"\"

        when: ClassVar[str] = "start of the sleep"

        nid: Annotated[int, Field("int", "node", "nid")]

and code emits `vmscan.mm_vmscan_kswapd_sleep(nid=0)`. Making such a value costs 40 ns: it is a
`msgspec.Struct`, so it goes into a log line without a dict in between.

Interface: `Tracepoint`, `Field` to declare; `describe` to read a declaration back.
Units: those each field names; "" is a plain number.
"""

from collections.abc import Callable, Mapping
from typing import ClassVar, Final, NamedTuple, get_type_hints

import attrs
import msgspec

SCHEMA_VERSION: Final = 1  # of events.jsonl; raised when a field changes its meaning
LINE_KEYS: Final = ("t_ns", "actor", "event")  # first in each line, so no field may be named so


class Field(NamedTuple):
    """What the annotation of a field says beside its Python type."""

    type: str
    """C type as in Linux's format file."""
    doc: str
    """Meaning in one line."""
    unit: str = ""
    """Unit of a number; empty for flags, counts of no unit and text."""
    shown: Callable[[int], str] | None = None
    """How the kernel prints a number, where it does not print it as such."""


class Tracepoint(msgspec.Struct, frozen=True, gc=False):
    """Base of all declarations: the class is the tracepoint, an instance one occurrence."""

    event: ClassVar[str]
    """Name, that of the class; set when the class is made."""
    subsystem: ClassVar[str]
    """Linux's trace system, the name of the declaring module; `ks` for our own."""
    when: ClassVar[str] = ""
    """What its `t_ns` is: the start or the end of what it tells of. Each declaration says it."""
    page_level: ClassVar[bool] = False
    """Whether it happens once a page or request, and so is off unless asked for."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.event = cls.__name__
        cls.subsystem = cls.__module__.rpartition(".")[2]


Fields = Mapping[str, object] | Tracepoint
"""What an event says: a tracepoint's occurrence, or values by name, not to be changed later."""


@attrs.frozen
class FieldInfo:
    """One field of a tracepoint, for people and for checks."""

    name: str
    type: str
    """C type as in Linux's format file."""
    unit: str
    doc: str
    shown: Callable[[int], str] | None
    """How text shows a number; None as it is."""


@attrs.frozen
class TracepointInfo:
    """A declaration read back."""

    name: str
    subsystem: str
    doc: str
    """First line of the docstring."""
    when: str
    """What its `t_ns` is."""
    page_level: bool
    fields: tuple[FieldInfo, ...]
    """In the order of the line."""
    cls: type[Tracepoint]


def describe(cls: type[Tracepoint]) -> TracepointInfo:
    """Read a declaration back: docstring, fields in order, and what their annotations say.

    Raises:
        TypeError: it does not say what its `t_ns` is; a field has no `Field` annotation, or takes
            a name that every line has.
    """
    if not cls.when:
        raise TypeError(f"{cls.__name__}.when must say what its t_ns is")
    hints = get_type_hints(cls, include_extras=True)
    fields = []
    for name in cls.__struct_fields__:
        notes = [note for note in getattr(hints[name], "__metadata__", ()) if type(note) is Field]
        if len(notes) != 1 or name in LINE_KEYS:
            rule = f"must be Annotated[…, Field(…)] and none of {LINE_KEYS}"
            raise TypeError(f"{cls.__name__}.{name} {rule}")
        note = notes[0]
        fields.append(FieldInfo(name, note.type, note.unit, note.doc, note.shown))
    return TracepointInfo(
        name=cls.event,
        subsystem=cls.subsystem,
        doc=(cls.__doc__ or "").partition("\n")[0],
        when=cls.when,
        page_level=cls.page_level,
        fields=tuple(fields),
        cls=cls,
    )
