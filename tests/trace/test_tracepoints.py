"""Tests of the declared tracepoints: held against Linux's own fields."""

import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Annotated, ClassVar

import msgspec
import pytest

from kernelsim.trace import kmem, vmscan
from kernelsim.trace.registry import MODULES, TRACEPOINTS
from kernelsim.trace.tracepoint import LINE_KEYS, Field, Tracepoint, describe

pytestmark = [pytest.mark.mission("B6")]

# subsystem:name | C type and name of each field, as a real kernel's format files say.
LINUX = (Path(__file__).parent / "data" / "linux_fields.txt").read_text(encoding="utf-8")
LINUX_FIELDS = dict(line.split(" | ") for line in LINUX.splitlines())
OWN = {name for name, info in TRACEPOINTS.items() if info.subsystem == "ks"}
INTEGERS = {"bool": bool, "char[]": str, "char[16]": str, "char[10]": str, "char[32]": str}


def fields_of(text):
    """Read `unsigned long pfn; char comm[16]` as name and type pairs, in their order."""
    fields = []
    for part in text.split("; "):
        ctype, name, length = re.fullmatch(r"(.*?) ?(\w+)(\[\d+\])?", part).groups()
        fields.append((name, ctype.removeprefix("__data_loc ") + (length or "")))
    return fields


@pytest.mark.parametrize("name", sorted(LINUX_FIELDS))
def test_fields_are_linuxs(name):
    """Each field has Linux's name and C type, in Linux's order."""
    subsystem, _, event = name.partition(":")
    info = TRACEPOINTS[event]
    assert subsystem == info.subsystem
    assert fields_of(LINUX_FIELDS[name]) == [(field.name, field.type) for field in info.fields]


def test_no_tracepoint_is_invented():
    """What is not Linux's says so by its name, and nothing else does."""
    declared = {f"{info.subsystem}:{name}" for name, info in TRACEPOINTS.items()}
    assert set(LINUX_FIELDS) == declared - {f"ks:{name}" for name in OWN}
    assert all(name.startswith("ks_") for name in OWN)


@pytest.mark.parametrize("info", TRACEPOINTS.values(), ids=TRACEPOINTS)
def test_declaration_is_complete(info):
    """Each tracepoint, its time and its fields have a meaning; no field hides a key of the line."""
    assert info.doc.endswith(".")
    assert info.when
    assert all(field.doc and field.type for field in info.fields)
    assert not {field.name for field in info.fields} & set(LINE_KEYS)
    assert info.cls.event == info.name


@pytest.mark.parametrize("info", TRACEPOINTS.values(), ids=TRACEPOINTS)
def test_python_types_follow_c_types(info):
    """Text and truth are str and bool; everything else is an int."""
    hints = {name: info.cls.__annotations__[name].__origin__ for name in info.cls.__struct_fields__}
    assert hints == {field.name: INTEGERS.get(field.type, int) for field in info.fields}


def test_page_level_tracepoints():
    """What happens once a page, fault or request is off by default; batches are on."""
    assert {name for name, info in TRACEPOINTS.items() if info.page_level} == {
        "mm_page_alloc",
        "mm_page_free",
        "mm_page_alloc_extfrag",
        "mm_vmscan_write_folio",
        "page_fault_user",
        "ks_mem_access",
        "block_rq_issue",
        "block_rq_complete",
        "writeback_dirty_folio",
        "global_dirty_state",
    }


def test_occurrence_is_a_frozen_value():
    """An occurrence compares by value, encodes in field order, pickles and does not change."""
    point = vmscan.mm_vmscan_kswapd_wake(nid=1, zid=2, order=0)
    assert point == vmscan.mm_vmscan_kswapd_wake(1, 2, 0)
    assert msgspec.json.encode(point) == b'{"nid":1,"zid":2,"order":0}'
    assert pickle.loads(pickle.dumps(point)) == point  # noqa: S301 - our own bytes
    with pytest.raises(AttributeError):
        point.nid = 3


def test_wrong_fields_are_refused():
    """A missing or unknown field is an error where the event happens."""
    with pytest.raises(TypeError):
        kmem.mm_page_free(pfn=1)
    with pytest.raises(TypeError):
        kmem.mm_page_free(pfn=1, order=0, zone=2)


def test_bad_declarations_are_refused():
    """A field without a description, or named as a key of the line, is no declaration."""

    class no_when(Tracepoint, frozen=True):  # noqa: N801 - a tracepoint's name
        """Does not say whether t_ns is its start or its end."""

    class no_text(Tracepoint, frozen=True):  # noqa: N801 - a tracepoint's name
        """Says nothing about its field."""

        when: ClassVar[str] = "start"

        pfn: int

    class hides_actor(Tracepoint, frozen=True):  # noqa: N801 - a tracepoint's name
        """Would be written twice."""

        when: ClassVar[str] = "start"

        actor: Annotated[int, Field("int", "who")]

    for declaration in (no_when, no_text, hides_actor):
        with pytest.raises(TypeError, match=declaration.__name__):
            describe(declaration)


@pytest.mark.slow
@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_order_of_the_registry(hash_seed):
    """The registry goes by module and text, whatever the hash seed."""
    program = "from kernelsim.trace.registry import TRACEPOINTS; print(*TRACEPOINTS)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == list(TRACEPOINTS)
    subsystems = [info.subsystem for info in TRACEPOINTS.values()]
    assert list(dict.fromkeys(subsystems)) == [module.__name__.split(".")[-1] for module in MODULES]
    assert subsystems == sorted(subsystems, key=list(dict.fromkeys(subsystems)).index)
