"""Tests of the decorator for compiled functions."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kernelsim.hw import leaf

PROGRAM = """
import numba
from kernelsim.hw.leaf import leaf
import kernelsim.mm.list
print(numba.config.CACHE_DIR)
"""


def cache_dir_of_a_process(**environment):
    """Run a process that imports leafs; give back where it keeps them."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return Path(done.stdout.strip())


@pytest.mark.slow
def test_cache_lives_in_the_users_cache(tmp_path):
    """Compiled code lies below XDG_CACHE_HOME, in a folder of our version."""
    folder = cache_dir_of_a_process(XDG_CACHE_HOME=str(tmp_path), NUMBA_CACHE_DIR="")
    assert folder.parent.parent == tmp_path / "kernelsim"
    assert folder.parent.name.startswith(leaf.__version__)
    assert folder.is_dir()


@pytest.mark.slow
def test_cache_moves_when_home_is_not_writable(tmp_path):
    """Without a writable home the cache is a folder of this user among the temporary files."""
    home = tmp_path / "not-a-folder"
    home.write_text("")
    folder = cache_dir_of_a_process(
        HOME=str(home), XDG_CACHE_HOME="", NUMBA_CACHE_DIR="", TMPDIR=str(tmp_path)
    )
    assert folder.parent.parent == tmp_path / f"kernelsim-{os.getuid()}"


@pytest.mark.slow
def test_asked_for_cache_is_used(tmp_path):
    """NUMBA_CACHE_DIR wins."""
    assert cache_dir_of_a_process(NUMBA_CACHE_DIR=str(tmp_path)).parent == tmp_path


def test_digest_covers_what_is_compiled_in():
    """The folder's name depends on the modules a leaf's module imports, directly or not."""
    names = leaf.imported("kernelsim.mm.list")
    assert {"kernelsim.mm.list", "kernelsim.mm.mem", "kernelsim.hw.leaf"} <= names
    assert all(leaf.source_of(name) for name in names)


def test_imports_are_found_in_all_forms():
    """Modules of ours are found in every form of import; names inside modules are not modules."""
    source = b"""
import numpy
import kernelsim.units
from kernelsim.mm import list as lists, mem
def later():
    from kernelsim.errors import ConfigError
"""
    assert set(leaf.direct_imports(source)) == {
        "kernelsim.units",
        "kernelsim.mm",
        "kernelsim.mm.list",
        "kernelsim.mm.mem",
        "kernelsim.errors",
    }


def test_old_cache_folders_are_removed(tmp_path):
    """Folders nobody wrote to since the given time go, younger ones stay."""
    for name, age in (("old", 100), ("young", 200)):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (age, age))
    leaf.remove_older(tmp_path, 150)
    assert [path.name for path in tmp_path.iterdir()] == ["young"]


def test_notice_is_silent_without_a_terminal(capsys):
    """Where stderr is no terminal, nothing is said about compiling."""
    leaf.CompileNotice().on_start(None)
    assert capsys.readouterr().err == ""


def test_notice_is_one_line_on_a_terminal(capsys, monkeypatch):
    """On a terminal one line explains the wait, once."""
    notice = leaf.CompileNotice()
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    notice.on_start(None)
    notice.on_start(None)
    assert capsys.readouterr().err.count("\n") == 1
