"""The same seed gives the same bytes, whatever else differs between two processes."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

pytestmark = [pytest.mark.mission("B2")]

TOP = Path(__file__).parents[2]
ZOO = Path(__file__).with_name("zoo.py")
NR_SEEDS = 100
HASH_SEEDS = (0, 4711)
WORDS = ((), ("--hypothesis",))
OTHER_PYTHONS = ("3.12", "3.13", "3.14")


def start(python, hash_seed, *words):
    """Start the program; other interpreters borrow our pure Python packages."""
    paths = [str(TOP), sysconfig.get_path("purelib")]
    environment = os.environ | {
        "PYTHONHASHSEED": str(hash_seed),
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return subprocess.Popen(
        [python, str(ZOO), str(NR_SEEDS), *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def lines_of(process):
    """Wait for a process; return its lines, each as words."""
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    lines = [line.split() for line in out.splitlines()]
    assert len(lines) == NR_SEEDS
    return lines


@pytest.fixture(scope="module")
def running():
    """All processes, by what differs; started at once, as they only wait for each other's cores."""
    processes = {
        (hash_seed, words): start(sys.executable, hash_seed, *words)
        for hash_seed in HASH_SEEDS
        for words in WORDS
    }
    for version in OTHER_PYTHONS:
        python = find_python(version)
        if python is not None:
            processes[version] = start(python, 1)
    yield processes
    for process in processes.values():
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def expected(running):
    """The digests of this Python with one hash seed, Hypothesis not imported."""
    return lines_of(running.pop((HASH_SEEDS[0], WORDS[0])))


@pytest.mark.slow
def test_runs_differ_between_seeds(expected):
    """The digests are worth comparing: no two runs are alike, and all did something."""
    assert len({line[0] for line in expected}) == NR_SEEDS
    assert len({line[4] for line in expected}) == NR_SEEDS
    assert all(int(line[3]) > 100 for line in expected)


@pytest.mark.slow
@pytest.mark.parametrize("words", WORDS, ids=["alone", "with-hypothesis"])
@pytest.mark.parametrize("hash_seed", HASH_SEEDS)
def test_hash_seed_and_hypothesis_change_nothing(running, expected, hash_seed, words):
    """Not a byte of events.jsonl differs, though Hypothesis reorders trio's own batches."""
    if (hash_seed, words) == (HASH_SEEDS[0], WORDS[0]):  # the reference itself
        assert len(expected) == NR_SEEDS
    else:
        assert lines_of(running.pop((hash_seed, words))) == expected


@pytest.mark.slow
@pytest.mark.parametrize("version", OTHER_PYTHONS)
def test_other_pythons_give_the_same_events(running, expected, version):
    """Every other interpreter that is installed logs the same events at the same times."""
    if version not in running:
        pytest.skip(f"needs another Python {version}: pyenv install {version}")
    found = lines_of(running.pop(version))
    assert [line[:4] for line in found] == [line[:4] for line in expected]


def find_python(version):
    """Find an interpreter that really starts, on the path or among pyenv's."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = [shutil.which(f"python{version}")]
    found += sorted(pyenv.glob(f"{version}*/bin/python{version}"))
    for candidate in found:
        if candidate is None or f"{sys.version_info[0]}.{sys.version_info[1]}" == version:
            continue
        test = [candidate, "-c", "import sys; print(*sys.version_info[:2], sep='.')"]
        done = subprocess.run(test, capture_output=True, text=True, check=False)
        if done.stdout.strip() == version:
            return candidate
    return None
