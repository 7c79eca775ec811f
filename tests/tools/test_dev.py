"""Tests of `tools/dev`, with a made-up Python that only writes down what it was asked."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
NOBODY = 65534  # root may write everywhere; this user may not

# `-m venv` puts a copy of itself into the new environment; everything else is written down.
FAKE_PYTHON = """#!/bin/sh
case "$*" in
    *tomllib*) exec {python} "$@" ;;
    *"sys.version_info < "*) exit "$(cat {state}/too_old)" ;;
    *"print("*) cat {state}/version; exit ;;
    "-m venv "*) for last; do :; done; mkdir -p "$last/bin"; cp "$0" "$last/bin/python" ;;
    *pip*) [ ! -e {state}/no_network ] || {{ echo no network; exit 1; }} ;;
esac
printf '%s|%s\\n' "$PWD" "$*" >>{state}/log
"""


PYPROJECT = """[build-system]
requires = ["hatchling"]
[project]
name = "it"
dependencies = ["trio>=0.27"]
[project.optional-dependencies]
test = ["pytest"]
[project.scripts]
it = "it:main"
[tool.ruff]
line-length = 100
"""


class Checkout:
    """A checkout with tools/dev and a pyproject.toml, and a PATH with the made-up Python."""

    def __init__(self, folder):
        self.top = folder / "check out"
        self.state = folder / "state"
        self.path = folder / "bin"
        for made in (self.top / "tools", self.state, self.path):
            made.mkdir(parents=True)
        shutil.copy(TOP / "tools/dev", self.top / "tools/dev")
        (self.top / "pyproject.toml").write_text(PYPROJECT)
        (self.state / "version").write_text("3 11 7\n")
        (self.state / "too_old").write_text("0")
        self.give("python3")
        needed = ("sh", "cat", "cp", "dirname", "head", "mkdir", "rm", "tail", "flock")
        for name in needed:
            found = shutil.which(name)
            if found:
                (self.path / name).symlink_to(found)

    def give(self, name):
        """Put the made-up Python on the PATH under a name."""
        file = self.path / name
        file.write_text(FAKE_PYTHON.format(state=self.state, python=sys.executable))
        file.chmod(0o755)

    def dev(self, *words, cwd=None, user=None):
        """Run tools/dev; give back its result and what Python was asked meanwhile."""
        log = self.state / "log"
        log.write_text("")
        done = subprocess.run(
            [self.top / "tools/dev", *words],
            cwd=cwd or self.top,
            user=user,
            env={"PATH": str(self.path)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        return done, log.read_text().splitlines()


@pytest.fixture
def checkout(tmp_path):
    """Give a fresh checkout without an environment."""
    return Checkout(tmp_path)


def asked(log, *parts):
    """Tell for each part whether Python was asked for something that holds it."""
    return [any(part in line for line in log) for part in parts]


def test_shell_syntax():
    """The scripts parse in the shells they name."""
    for shell, script in (("sh", "tools/dev"), ("bash", ".ci/run")):
        done = subprocess.run([shell, "-n", TOP / script], check=False)
        assert done.returncode == 0
        assert os.access(TOP / script, os.X_OK)


def test_first_use_sets_up_once(checkout):
    """Without an environment one is made and filled, and each step said; then none is made."""
    done, log = checkout.dev("run", "w.py")
    assert done.returncode == 0
    assert done.stderr.splitlines() == [
        "tools/dev: setting up .venv, only this once: Python …",
        "tools/dev: setting up .venv, only this once: its packages, about 30 s …",
        "tools/dev: .venv is ready",
    ]
    assert [True, True] == asked(log, "-m venv", f"--editable {checkout.top}[test]")
    assert log[-1] == f"{checkout.top}|-P -m kernelsim run w.py"
    done, log = checkout.dev("run", "w.py")
    assert done.stderr == ""
    assert log == [f"{checkout.top}|-P -m kernelsim run w.py"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("trio>=0.27", "trio>=0.30"),
        ('"pytest"', '"pytest", "mypy"'),
        ("it:main", "it:other"),
        ("hatchling", "setuptools"),
        ('name = "it"', 'name = "it"\nrequires-python = ">=3.12"'),
    ],
)
def test_changed_needs_install_again(checkout, old, new):
    """Other dependencies, scripts or another build install into the environment that is there."""
    checkout.dev("--help")
    (checkout.top / "pyproject.toml").write_text(PYPROJECT.replace(old, new))
    done, log = checkout.dev("--help")
    assert [False, True] == asked(log, "-m venv", "pip install")
    assert "setting up" in done.stderr


@pytest.mark.parametrize(
    ("old", "new"), [("100", "99"), ('name = "it"', 'name = "it" # that'), ("[tool", "\n[tool")]
)
def test_other_changes_of_pyproject_need_no_network(checkout, old, new):
    """Settings of tools, comments and layout are no reason to install anything."""
    checkout.dev("--help")
    (checkout.state / "no_network").touch()
    (checkout.top / "pyproject.toml").write_text(PYPROJECT.replace(old, new))
    done, log = checkout.dev("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert log == [f"{checkout.top}|-P -m kernelsim --help"]


@pytest.mark.parametrize("change", ["version", "place", "broken"])
def test_environment_of_another_python_or_place_is_made_anew(checkout, change):
    """Another Python, a moved checkout or a broken environment starts from nothing."""
    checkout.dev("--help")
    if change == "version":
        (checkout.state / "version").write_text("3 12 0\n")
    elif change == "place":
        checkout.top = checkout.top.rename(checkout.top.with_name("moved"))
    else:
        (checkout.top / ".venv/bin/python").unlink()
    _, log = checkout.dev("--help")
    assert [True, True] == asked(log, "-m venv --clear", "pip install")


def test_failed_install_is_told_and_tried_again(checkout):
    """A failed install shows why, ends with status 2, and the next use tries again."""
    (checkout.state / "no_network").touch()
    done, log = checkout.dev("run")
    assert done.returncode == 2
    assert "no network" in done.stderr
    assert [False] == asked(log, "-m kernelsim")
    (checkout.state / "no_network").unlink()
    done, log = checkout.dev("run")
    assert done.returncode == 0
    assert [True, True] == asked(log, "pip install", "-m kernelsim")


def test_words_and_directory_are_kept(checkout, tmp_path):
    """The words go on unchanged, blanks too, and the caller's directory stays."""
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    _, log = checkout.dev("show", "a b", "numactl -H", cwd=elsewhere)
    assert log[-1] == f"{elsewhere}|-P -m kernelsim show a b numactl -H"


def test_test_runs_the_gates(checkout):
    """`test` runs the program with all gates and hands it the words for pytest."""
    _, log = checkout.dev("test", "-k", "units")
    assert log[-1] == f"{checkout.top}|-P {checkout.top}/tools/check.py -k units"


def test_status_is_passed_through(checkout):
    """The exit status is that of what was run."""
    checkout.dev("--help")
    python = checkout.top / ".venv/bin/python"
    python.write_text(python.read_text() + "exit 3\n")
    assert checkout.dev("run")[0].returncode == 3


def test_too_old_python_is_one_line(checkout):
    """Without a Python of 3.11 or newer, one line says so."""
    (checkout.state / "too_old").write_text("1")
    done, _ = checkout.dev("run")
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert last.startswith("tools/dev: needs Python 3.11")


def test_newer_python_beside_an_old_one_is_found(checkout):
    """Where python3 is too old, python3.12 is taken."""
    old = checkout.path / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")
    checkout.give("python3.12")
    done, log = checkout.dev("run")
    assert done.returncode == 0
    assert [True] == asked(log, "-m venv")


def test_read_only_checkout_is_one_line():
    """Where no environment can be made, one line says so."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        checkout = Checkout(Path(folder))
        checkout.top.chmod(0o555)
        done, _ = checkout.dev("run", user=NOBODY if os.geteuid() == 0 else None)
        checkout.top.chmod(0o755)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "read-only" in done.stderr
