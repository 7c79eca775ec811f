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
PROCESS_SECONDS = 120
OTHER_PYTHONS = ("3.12", "3.13", "3.14")


def digests(python, hash_seed, *words):
    """Run the program; return its lines, each as words.

    Other interpreters borrow our pure Python packages.
    """
    paths = [str(TOP), sysconfig.get_path("purelib")]
    environment = os.environ | {
        "PYTHONHASHSEED": str(hash_seed),
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = subprocess.run(
        [python, str(ZOO), str(NR_SEEDS), *words],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=PROCESS_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert len(lines) == NR_SEEDS
    return lines


@pytest.fixture(scope="module")
def expected():
    """The digests of this Python with one hash seed, Hypothesis not imported."""
    return digests(sys.executable, 0)


@pytest.mark.slow
def test_runs_differ_between_seeds(expected):
    """The digests are worth comparing: no two runs are alike, and all did something."""
    assert len({line[0] for line in expected}) == NR_SEEDS
    assert len({line[4] for line in expected}) == NR_SEEDS
    assert all(int(line[3]) > 100 for line in expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("hash_seed", "words"), [(0, ["--hypothesis"]), (4711, []), (4711, ["--hypothesis"])]
)
def test_hash_seed_and_hypothesis_change_nothing(expected, hash_seed, words):
    """Not a byte of events.jsonl differs, though Hypothesis reorders trio's own batches."""
    assert digests(sys.executable, hash_seed, *words) == expected


@pytest.mark.slow
@pytest.mark.parametrize("version", OTHER_PYTHONS)
def test_other_pythons_give_the_same_events(expected, version):
    """Every other interpreter that is installed logs the same events at the same times."""
    python = find_python(version)
    if python is None:
        pytest.skip(f"needs another Python {version}: pyenv install {version}")
    found = digests(python, 1)
    assert [line[:4] for line in found] == [line[:4] for line in expected]


@pytest.mark.parametrize("broken", ["no file", "not executable", "no interpreter", "no access"])
def test_a_python_that_does_not_start_is_none(broken, monkeypatch, tmp_path):
    """An inherited PYENV_ROOT may be another user's, or gone; what is there may be broken."""
    folder = tmp_path / "versions" / "3.99.1" / "bin"
    folder.mkdir(parents=True)
    python = folder / "python3.99"
    if broken != "no file":
        python.write_text("#!/nowhere/python\n")
    python_mode = 0o644 if broken == "not executable" else 0o755
    if python.exists():
        python.chmod(python_mode)
    if broken == "no access":
        monkeypatch.setattr(Path, "glob", no_access)
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    monkeypatch.setenv("PATH", str(folder))
    assert find_python("3.99") is None


def no_access(_path, _pattern):
    """Refuse, as a directory of another user does."""
    raise PermissionError(13, "Permission denied")


def find_python(version):
    """Find an interpreter that really starts, on the path or among pyenv's."""
    if f"{sys.version_info[0]}.{sys.version_info[1]}" == version:
        return None
    found = [shutil.which(f"python{version}"), *pyenv_pythons(version)]
    return next((python for python in found if python and starts(python, version)), None)


def pyenv_pythons(version):
    """Return the interpreters of a version that pyenv has; none where we may not look."""
    root = os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv"
    try:
        return sorted(Path(root, "versions").glob(f"{version}*/bin/python{version}"))
    except OSError:
        return []


def starts(python, version):
    """Tell whether an interpreter starts and is of that version; a shim of pyenv may not be."""
    test = [python, "-c", "import sys; print(*sys.version_info[:2], sep='.')"]
    try:
        done = subprocess.run(test, capture_output=True, text=True, check=False)
    except OSError:
        return False
    return done.stdout.strip() == version
