"""Tests of compiling leaves before they are called."""

import os
import subprocess
import sys

import numpy as np
from numpy.typing import NDArray

import kernelsim.machine  # noqa: F401 - brings all leaves in
from kernelsim.hw import compile as compile_module
from kernelsim.hw import leaf_cache
from kernelsim.hw.compile import LEAVES, callees, compiling_time, missing_leaves, name_of, weight_of
from kernelsim.hw.leaf import leaf
from kernelsim.hw.leaf_cache import LeafCache


@leaf
def below(values: NDArray[np.int64], i: int) -> int:
    """Be called."""
    return values[i] * 2


@leaf
def above(values: NDArray[np.int64]) -> int:
    """Call."""
    total = 0
    for i in range(values.shape[0]):
        total += below(values, i)
    return total + below(values, 1) + below(values, np.uint8(i))


def test_jobs_name_what_they_need(tmp_path, monkeypatch):
    """What the cache lacks is a job, and needs the jobs of the leaves it calls."""
    monkeypatch.setattr(compile_module, "stamp_of", lambda _leaves: tmp_path / "none")
    monkeypatch.setattr(compile_module, "is_kept", lambda each: "zone_of" in name_of(each))
    jobs = {job.name: job for job in missing_leaves()}
    assert jobs["kernelsim.mm.core.mem:nid_of"].needs == ()
    assert (
        "kernelsim.mm.core.mem:nid_of"
        in jobs["kernelsim.mm.core.workingset:workingset_eviction"].needs
    )
    assert all(need in jobs for job in jobs.values() for need in job.needs)
    assert not [name for name in jobs if not name.startswith("kernelsim.")]


def test_a_full_cache_is_remembered(tmp_path, monkeypatch):
    """Once nothing was missing no leaf is looked for, until the cache gets another folder."""
    looked = []
    monkeypatch.setattr(compile_module, "cache_root", lambda: tmp_path)
    monkeypatch.setattr(leaf_cache, "cache_root", lambda: tmp_path)
    monkeypatch.setattr(compile_module, "is_kept", lambda each: looked.append(each) or True)
    assert missing_leaves() == missing_leaves() == []
    once = len(looked)
    assert once == len({name_of(each) for each in looked}) > 100
    leaf_cache.cache_folder.__wrapped__("a_new_module", "a_new_file.py")
    assert missing_leaves() == []
    assert len(looked) == 2 * once


def test_callers_weigh_more_than_what_they_call():
    """A leaf takes longer to compile the more it calls."""
    caller, called = above._numba_type_.dispatcher, below._numba_type_.dispatcher
    assert callees(caller) == [called]
    assert callees(called) == []
    assert weight_of(caller) > weight_of(called) > 0


def test_a_leaf_is_compiled_once_for_all_callers(monkeypatch):
    """Small integers and constants that callers hand on make no forms of their own."""
    monkeypatch.setattr(LeafCache, "load_overload", lambda *_: None)
    anew = leaf(above._numba_type_.dispatcher.py_func)
    assert anew(np.arange(5)) == 20 + 2 + 8
    assert len(below._numba_type_.dispatcher.overloads) == 1
    assert all(len(each.overloads) <= 2 for each in LEAVES if each.py_func.__module__ != __name__)


def test_compiling_time_counts_compiling_only(monkeypatch):
    """It is 0 when nothing was compiled, and then what numba took."""
    monkeypatch.setattr(LeafCache, "load_overload", lambda *_: None)

    @leaf
    def fresh(n: int) -> int:
        return n + 1

    with compiling_time() as so_far_ns:
        assert so_far_ns() == 0
        assert fresh(1) == 2
        once_ns = so_far_ns()
        assert once_ns > 0
        assert fresh(2) == 3
        assert so_far_ns() == once_ns


def test_the_process_answers_each_job(tmp_path):
    """It compiles what it is told to and says whether it was kept; on a full disk it was not."""
    name = "kernelsim.hw.tlb:tlb_flush_asid\n"
    folder = tmp_path / "cache"
    answers = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-P", "-m", "kernelsim.hw.compile"],
            input=name,
            env={**os.environ, "NUMBA_CACHE_DIR": str(folder)},
            capture_output=True,
            text=True,
            check=True,
        )
        answers.append(done.stdout)
        folder = tmp_path / "file"
        folder.write_text("no folder")
    assert answers == ["kept\n", "lost\n"]
