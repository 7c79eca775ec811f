"""The steps of portable scripts: their grammar and their typed values.

A step is `op[:argument[:argument…]]`, one operation of a simulated or real process. `GRAMMAR`
lists every op of the recorded program with its arguments, `ARGUMENT_RULES` what an argument looks
like; a call of the table of system calls may add steps.

Interface: `parse_steps` turns the words of one process into `Step` values.
Units: sizes in bytes, times in nanoseconds; a region is the name a process gave to its memory.
"""

import re
from collections.abc import Iterator
from typing import Final, TypeAlias

import attrs

from kernelsim.actors.process.calls.table import CALLS
from kernelsim.errors import ConfigError, WorkloadError
from kernelsim.units import NS_PER_MS, parse_size
from kernelsim.user.malloc.mallocs import MALLOCS

# op -> kinds of its arguments (see ARGUMENT_RULES); `?` may be left out; `=x` is the word x.
GRAMMAR: Final[dict[str, str]] = {
    # the process
    "name": "word",
    "adj": "adj",
    "uid": "number",
    "cpu": "number",
    # the heap
    "malloc": "new size",
    "mallocw": "new size",
    "free": "gone",
    "mtrim": "",
    "sbrk": "increment",
    "brkinfo": "",
    "mcycle": "size count",
    "mallocloop": "size size count",
    "probe": "size",
    "churn": "allocator number count size",
    # mappings
    "mmap": "new size",
    "mmapshared": "new size",
    "mmapnr": "new size",
    "munmap": "gone",
    "part": "new region size size",
    "stack": "new size",
    "mlock": "region",
    "munlock": "region",
    "madvise": "region advice",
    # touching memory
    "touchw": "region size? size? count? stride?",
    "touchr": "region size? size? count? stride?",
    "randw": "region number count",
    "randr": "region number count",
    "randtime": "region number ms percent",
    "fillrand": "region number",
    "grow": "size size size?",
    "growsnap": "size size",
    "spreadpt": "count",
    "dents": "count",
    # where memory lies
    "setpol": "mode nodes?",
    "mbind": "region mode nodes?",
    "where": "region",
    "wherehead": "region count",
    "movepages": "region number number?",
    # other processes of the same memory
    "forkcow": "region size =r?",
    "clonevm": "region size",
    "pool": "region number count",
    "vforkw": "region size",
    # files
    "readf": "path size size?",
    "readsteps": "path size count size?",
    "cached": "path =v?",
    "dontneed": "path",
    "drop": "",
    "writef": "path size size =fsync?",
    "fsync": "path",
    "mapfile": "new path =s|w?",
    # looking
    "sample": "ms count path?",
    "maps": "",
    "smaps": "",
    "rollup": "",
    "status": "",
    "statm": "",
    "numa_maps": "",
    "oom_score": "",
    "mem": "",
    "meminfo": "",
    "numastat": "",
    "cat": "path",
    "vm0": "",
    "vmd": "word",
    "snap": "word",
    "mark": "word",
    # files and swap areas; the recorded program has none of these
    "truncate": "path size",
    "msync": "region",
    "swapon": "path number?",
    "swapoff": "path",
    # the kernel's own: blocks of an order, packets at an interval in us
    "kblock": "count count =atomic?",
    "kfree": "count",
    "netrx": "count count",
    # meeting others
    "poke": "path word",
    "mkfile": "path",
    "wait": "path",
    "sleep": "ms",
    "hold": "",
}
# Ops that differ so much by one word that a runner may have some of them only.
WORDS_OF_NEED: Final = {"madvise": 1, "setpol": 0, "mbind": 1, "setrlimit": 0}

ADVICE: Final = CALLS.by_name["madvise"].words
MODES: Final = ("default", "preferred", "bind", "interleave", "local", "preferred_many")
ARGUMENT_RULES: Final[dict[str, tuple[str, str]]] = {
    # kind -> (pattern, rule for people)
    "word": (r"[^\s:]+", "a word"),
    "path": (r"/[^\s:]*", "a path from /"),
    "new": (r"[A-Za-z_][A-Za-z0-9_]*", "a region name (letters, digits, _)"),
    "region": (r"[A-Za-z_][A-Za-z0-9_]*", "a region name (letters, digits, _)"),
    "gone": (r"[A-Za-z_][A-Za-z0-9_]*", "a region name (letters, digits, _)"),
    "number": (r"[0-9]+", "a whole number"),
    "ms": (r"[0-9]+", "whole milliseconds"),
    "count": (r"0*[1-9][0-9]*", "a whole number from 1"),
    "adj": (r"-?[0-9]{1,3}|-?1000", "a number in -1000..1000"),
    "percent": (r"[0-9]{1,2}|100", "a percentage in 0..100"),
    "allocator": ("|".join(MALLOCS), f"one of {', '.join(MALLOCS)}"),
    "advice": ("|".join(ADVICE), f"one of {', '.join(ADVICE)}"),
    "mode": ("|".join(MODES), f"one of {', '.join(MODES)}"),
    "nodes": (r"[0-9]|[0-9]{2,}|[0-9]+(,[0-9]+)+", "node numbers, as 0,1 (or 01)"),
}
SIZE_RULE: Final = "a size in whole bytes, or a whole number of K, M, G or T"


def form_of(op: str) -> str:
    """Return the kinds of a step's arguments; those of a call of the table are the call's.

    Raises:
        KeyError: There is no such step.
    """
    call = CALLS.by_step.get(op)
    return GRAMMAR[op] if call is None or call.form is None else call.form


Argument: TypeAlias = int | str | tuple[int, ...] | None
"""Sizes in bytes, milliseconds in nanoseconds, nodes as a tuple; None where it is left out."""


@attrs.frozen
class Step:
    """One step of a process."""

    op: str
    """A key of `GRAMMAR`."""
    args: tuple[Argument, ...]
    """As many as the grammar names; None for each optional one that is left out."""
    text: str
    """The step as written."""

    @property
    def need(self) -> str:
        """What a runner must have for this step: the op, or `madvise:dontneed` and the like."""
        index = WORDS_OF_NEED.get(self.op)
        return self.op if index is None else f"{self.op}:{self.args[index]}"


def parse_steps(words: list[str]) -> Iterator[Step]:
    """Parse the steps of one process in order, watching which regions it has.

    Raises:
        WorkloadError: a step breaks a rule; names the step, neither file nor line.
    """
    regions: set[str] = set()
    for text in words:
        op, *given = text.split(":")
        if op not in GRAMMAR and op not in CALLS.by_step:
            raise WorkloadError(f"step {text!r}: {op!r} is no step")
        kinds = form_of(op).split()
        required = sum(not kind.endswith("?") for kind in kinds)
        if not required <= len(given) <= len(kinds):
            form = ":".join([op, *(f"[{k[:-1]}]" if k.endswith("?") else k for k in kinds)])
            raise WorkloadError(f"step {text!r}: takes {form.replace('=', '')}")
        given_kinds = zip(kinds, given, strict=False)
        args = [_parse_argument(text, kind.rstrip("?"), value) for kind, value in given_kinds]
        for kind, name in zip(kinds, given, strict=False):
            if kind in ("region", "gone") and name not in regions:
                raise WorkloadError(
                    f"step {text!r}: region {name!r} must be made by a step before it"
                )
            if kind == "new":
                regions.add(name)
            elif kind == "gone":
                regions.remove(name)
        yield Step(op, tuple(args) + (None,) * (len(kinds) - len(args)), text)


def _parse_argument(text: str, kind: str, value: str) -> Argument:
    """Turn one argument into its typed value."""
    if kind in ("size", "stride", "increment"):
        return _parse_size(text, kind, value)
    if kind.startswith("="):
        pattern, rule = kind[1:], f"the word {kind[1:]!r}"
    else:
        pattern, rule = ARGUMENT_RULES[kind]
    if not re.fullmatch(pattern, value):
        raise WorkloadError(f"step {text!r}: {value!r} must be {rule}")
    if kind == "nodes":
        # Digits without commas are one node each, as the recorded program reads them.
        return tuple(int(node) for node in (value.split(",") if "," in value else value))
    if kind == "ms":
        return int(value) * NS_PER_MS
    return int(value) if kind in ("number", "count", "adj", "percent") else value


def _parse_size(text: str, kind: str, value: str) -> int:
    """Read a size; an increment may be negative, a stride is at least 1.

    Decimals, which sizes elsewhere may have, are refused: the recorded program reads none.
    """
    sign = -1 if kind == "increment" and value.startswith("-") else 1
    wrong = WorkloadError(f"step {text!r}: {value!r} must be {SIZE_RULE}")
    if "." in value:
        raise wrong
    try:
        size = parse_size(value[1:] if sign < 0 else value)
    except ConfigError:
        raise wrong from None
    if kind == "stride" and not size:
        raise WorkloadError(f"step {text!r}: a stride must be at least 1 byte")
    return sign * size
