"""Tests of where compiled functions are kept."""

import os
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
from numpy.typing import NDArray

from kernelsim.hw import leaf_cache
from kernelsim.hw.leaf import leaf

PROGRAM = """
from kernelsim.mm.core.list import list_add
print(list_add._numba_type_.dispatcher._cache.cache_path)
"""


def cache_dir_of_a_process(**environment):
    """Run a process that imports leaves; give back where it keeps them."""
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
    assert folder.parent.name.startswith(leaf_cache.__version__)
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


SIGNATURE = (numba.types.Array(numba.int64, 1, "C"),)


def total(values: NDArray[np.int64]) -> int:
    """Sum up."""
    result = 0
    for i in range(values.shape[0]):
        result += values[i]
    return result


@pytest.fixture
def compiled(tmp_path, monkeypatch):
    """Give a function that makes a leaf anew, as a new process would, with a cache of the test."""
    monkeypatch.setattr(leaf_cache, "cache_folder", lambda _module, _file: tmp_path / "leaves")
    return lambda: leaf(total)


def compiles(function):
    """Tell whether a leaf is compiled when it is called, not taken from the cache."""
    assert function(np.arange(4)) == 6
    return SIGNATURE not in function._numba_type_.dispatcher.stats.cache_hits


def test_what_was_compiled_is_kept(compiled):
    """A second process takes from the cache what the first one put there, and knows before."""
    first, second = compiled(), compiled()
    assert not second._numba_type_.dispatcher._cache.holds(SIGNATURE)
    assert compiles(first)
    assert second._numba_type_.dispatcher._cache.holds(SIGNATURE)
    assert not compiles(second)


@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
@pytest.mark.parametrize("content", [b"", b"\x80\x05no", None])
def test_a_broken_file_is_as_good_as_none(compiled, tmp_path, suffix, content):
    """Where a file of the cache was cut short, overwritten or lost, the leaf is compiled again."""
    compiles(compiled())
    (file,) = (tmp_path / "leaves").glob(f"*.{suffix}")
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    assert compiles(compiled())
    assert not compiles(compiled())


def test_a_full_disk_does_no_harm(compiled, tmp_path):
    """A leaf that cannot be kept works; nothing is left behind that could be taken for one."""
    (tmp_path / "leaves").write_text("a file where the folder should be")
    for _ in range(2):
        function = compiled()
        assert compiles(function)
        assert not function._numba_type_.dispatcher._cache.holds(SIGNATURE)


def test_the_place_of_the_source_does_not_matter(compiled):
    """The stamp of the source says nothing of time or place: the folder stands for its text."""
    locator = compiled()._numba_type_.dispatcher._cache._impl.locator
    assert locator.get_source_stamp() == "kernelsim"


def test_digest_covers_what_is_compiled_in():
    """The folder's name depends on the modules a leaf's module imports, directly or not."""
    names = leaf_cache.imported("kernelsim.mm.core.list")
    assert {"kernelsim.mm.core.list", "kernelsim.mm.core.mem", "kernelsim.hw.leaf"} <= names
    assert all(leaf_cache.source_of(name) for name in names)


def test_another_source_is_another_folder(tmp_path, monkeypatch):
    """What a module's own file says counts, also where the module is none of ours."""
    monkeypatch.setattr(leaf_cache, "cache_root", lambda: tmp_path / "root")
    files = [tmp_path / "a.py", tmp_path / "b.py", tmp_path / "c.py"]
    for file, text in zip(files, ("x = 1", "x = 1", "x = 2"), strict=True):
        file.write_text(text)
    folders = [leaf_cache.cache_folder("some_test", str(file)) for file in files]
    assert folders[0] == folders[1] != folders[2]
    assert all(folder.is_dir() for folder in folders)


def test_imports_are_found_in_all_forms():
    """Modules of ours are found in every form of import; names inside modules are not modules."""
    source = b"""
import numpy
import kernelsim.units
import os, kernelsim.config.machine as m
from kernelsim.mm.core import list as lists, mem
from kernelsim.mm.core.mem import (
    Mem,  # ours
)
def later():
    from kernelsim.errors import ConfigError
    from kernelsim.mm import (
        swap,
        page as p,
    )
"""
    assert set(leaf_cache.direct_imports(source)) == {
        "kernelsim.units",
        "kernelsim.config.machine",
        "kernelsim.mm.core",
        "kernelsim.mm.core.list",
        "kernelsim.mm.core.mem",
        "kernelsim.errors",
        "kernelsim.mm",
        "kernelsim.mm.swap",
        "kernelsim.mm.page",
    }


def test_old_cache_folders_are_removed(tmp_path):
    """Folders not used since the given time go, younger ones stay."""
    for name, age in (("old", 100), ("young", 200)):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (age, age))
    leaf_cache.remove_older(tmp_path, 150)
    assert [path.name for path in tmp_path.iterdir()] == ["young"]


def test_a_folder_in_use_is_not_old(tmp_path, monkeypatch):
    """Each process that uses a folder makes it young, though it writes nothing there."""
    monkeypatch.setattr(leaf_cache, "cache_root", lambda: tmp_path)
    file = tmp_path / "a.py"
    file.write_text("x = 1")
    folder = leaf_cache.cache_folder("some_test", str(file))
    os.utime(folder, (100, 100))
    leaf_cache.cache_folder.__wrapped__("some_test", str(file))
    assert folder.stat().st_mtime > 100
