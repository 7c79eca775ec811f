"""Recorded programs of system calls, run here: what answered as a real 6.1 did goes on doing so.

`syscalls/` has some programs of each family; syscalls_ratchet.json says how many of them ran to
their end and names those of which a step still differs: as many must run, and no others may differ.
"""

import pytest

from kernelsim.oracle.vmaprog import compare_recordings, family_names, steps_of
from kernelsim.oracle.vmaprog_content import Contents
from kernelsim.oracle.vmaprog_program import (
    Places,
    SyscallProgram,
    bits_of,
    length_of,
    prot_of,
    read_programs,
)
from kernelsim.oracle.vmaprog_run import run_family
from kernelsim.units import PAGE_SIZE
from tools.ratchet import SYSCALLS, SYSCALLS_RATCHET, fallen, programs_apart, read_ratchet

RATCHET = read_ratchet(SYSCALLS_RATCHET)
QUICK = ("mapmix", "protect", "overcommit")


@pytest.mark.mission("V12")
@pytest.mark.parametrize("family", QUICK)
def test_programs_answer_as_recorded(family):
    """Mappings, their permissions and what may be promised: every step of every program."""
    assert programs_apart(family) == (RATCHET.compared[family], [])


@pytest.mark.slow
@pytest.mark.mission("V11")
@pytest.mark.parametrize("family", sorted(set(RATCHET.outside) - set(QUICK)))
def test_programs_of_other_families(family):
    """All run to their end, and no program falls back that was the same throughout."""
    nr_run, apart = programs_apart(family)
    assert nr_run == RATCHET.compared[family]
    assert {} == fallen(RATCHET.outside, {family: apart})


def test_the_ratchet_knows_every_family():
    """No family is left out."""
    assert sorted(RATCHET.outside) == sorted(RATCHET.compared) == family_names(SYSCALLS)


def test_a_program_that_did_not_run_is_apart(tmp_path):
    """Neither one that is missing nor one that stops early counts as run."""
    (tmp_path / "recordings").mkdir()
    whole = "prog a\n1 munmap 0 1 -> 0\nend size=+0\n\nprog b\n1 vm -> size=+0\nend size=+0\n"
    (tmp_path / "recordings/two.out").write_text(whole)
    for ours, nr_run, apart in (
        (whole, 2, ()),
        (whole.partition("\n\n")[0], 1, ("b",)),
        (whole.replace("1 munmap 0 1 -> 0\n", ""), 1, ("a",)),
        ("", 0, ("a", "b")),
    ):
        likeness = compare_recordings(tmp_path, "two", ours)
        assert (likeness.nr_programs, likeness.nr_run, likeness.apart) == (2, nr_run, apart)


def test_hard_limits_and_pages_of_the_kernel():
    """As the hand-written programs setrlimit_errors and vvar_vdso were recorded."""
    steps = ("mlock T0 4", "munlock T0 4", "setrlimit MEMLOCK 4 hard", "setrlimit MEMLOCK 8")

    told = run_family([SyscallProgram("x", (), steps)]).splitlines()[1:5]

    assert [line.rpartition(" ")[2] for line in told] == ["0", "0", "0", "EINVAL"]


def test_programs_are_read(tmp_path):
    """Comments are passed over, directives and steps told apart, programs end at a blank line."""
    path = tmp_path / "a.txt"
    path.write_text("prog one\n# why\n@maxmap 3\nmmap 0 1 rw private,anon\n\n\nprog two\nvm\n")
    one, two = read_programs(path)
    assert (one.name, one.directives, one.steps) == (
        "one",
        ("@maxmap 3",),
        ("mmap 0 1 rw private,anon",),
    )
    assert (two.name, two.steps) == ("two", ("vm",))


def test_addresses_are_relative_to_the_parts_of_a_process():
    """Pages of the window, of heap, top and stack, of variables; and back."""
    places = Places(heap=0x458000, top=0x7FFFF7FF9000, stack_end=0x7FFFFFFFF000)
    places.variables["a"] = places.address("W7")
    assert places.address("3") == 0x100000003000
    assert places.address("a2+5") == 0x100000009005
    assert places.address("b1") == PAGE_SIZE, "one that was never set is 0"
    for text in ("W-3", "T-4", "B2", "S-40", "W1+8"):
        assert places.text(places.address(text)) == text
    assert places.text(0x4000) == "0x4000"
    assert (length_of("2+100"), length_of("0x10"), prot_of("rw"), bits_of("1,0x8", {})) == (
        2 * PAGE_SIZE + 100,
        16,
        3,
        9,
    )


def test_what_is_not_compared_is_left_out():
    """Lagging words and comments go; lines of mappings belong to their step."""
    text = "prog a\n@maxmap 3\n1 mmap -> W0\n W 0..1:rw-p\n2 statm -> size=+1 ~resident=4\n\n"
    assert steps_of(text) == {"a": ["1 mmap -> W0\n W 0..1:rw-p", "2 statm -> size=+1"]}


def test_bytes_of_pages_follow_their_tokens():
    """A store keeps the other bytes of what it found; what was found stays as it was."""
    contents = Contents()
    contents.store(0, 5, 4, b"\x01\x02")
    contents.store(5, 6, 5, b"\x09")
    assert contents.of(5)[:8] == b"\0\0\0\0\x01\x02\0\0"
    assert contents.of(6)[4:6] == b"\x01\x09"
    assert contents.fresh(PAGE_SIZE)[:8] == (0xF_0000_0000 + PAGE_SIZE).to_bytes(8, "little")
