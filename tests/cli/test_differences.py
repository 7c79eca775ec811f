"""Tests of `kernelsim differences`."""

import re

import kernelsim
from kernelsim.cli import differences
from kernelsim.config.sysctl import IDLE

OUR_NAMES = {"kswapd", "mmap"}  # begin a sentence as they are written
SOURCE = '''
"""Text with # Differs from Linux: in the middle."""
x = 1
    # Differs from Linux: no huge pages,
    # and no memory cgroups.
    y = 2  # a figure
# Differs from Linux: one
# Differs from Linux: two
'''


def test_marked_comments_are_joined():
    """A comment is found with its line and folded with the lines below it."""
    assert list(differences.marked_comments(SOURCE)) == [
        (4, "no huge pages, and no memory cgroups."),
        (7, "one"),
        (8, "two"),
    ]


def test_sources_are_all_and_sorted(tmp_path):
    """Every Python file below the folder is read, in the order of names."""
    for name in ("b.py", "a.py", "a/z.py", "a/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    names = [name for name, _ in differences.sorted_sources(tmp_path, "top")]
    assert names == ["top/a/z.py", "top/a.py", "top/b.py"]


def test_command_prints_places_of_the_package(capsys):
    """Each line names a file of the package and a line; as many lines as there are marks."""
    differences.differences()
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith(f"{kernelsim.__name__}/") for line in lines)
    places = [line.split(": ")[0] for line in lines if "changes nothing yet" not in line]
    assert len(places) == len(set(places))


def test_each_difference_is_whole_sentences_that_stand_alone(capsys):
    """It begins and ends as a sentence does, has a verb, and points at nothing outside of it."""
    differences.differences()
    for line in capsys.readouterr().out.splitlines():
        text = line.split(": ", 1)[1]
        first = text.split()[0]
        assert first[0].isupper() or first in OUR_NAMES or "." in first, line
        assert text.endswith("."), line
        assert "  " not in text, line
        for sentence in re.split(r"(?<=[a-z)`0-9])\. (?=[A-Z])", text):
            assert len(sentence.split()) >= 4, line
        assert not re.search(r"\b(below|above|marked|this search)\b[.;]", text), line


def test_tunables_that_change_nothing_are_listed(capsys):
    """Each with the reason, behind the places of the sources."""
    differences.differences()
    lines = capsys.readouterr().out.splitlines()
    told = [line for line in lines if "accepted and changes nothing yet" in line]
    assert len(told) == len(IDLE)
    assert (
        "kernelsim/config/sysctl.py: vm.vfs_cache_pressure is accepted and changes nothing yet: "
        "there are no dentries and inodes."
    ) in told


def test_parts_of_docstrings_count():
    """The part of a docstring that tells a difference is found, up to the next part."""
    source = (
        '"""What it is.\n\nLinux: mm/x.c.\nDiffers: one list\nfor all.\nUnits: pages.\n"""\n'
        '"""Another.\n\n    Differs from Linux: no locks.\n    """\n'
    )
    assert list(differences.docstring_parts(source)) == [
        (4, "one list for all."),
        (10, "no locks."),
    ]
