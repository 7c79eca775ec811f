"""The README is true: its example and its commands are run as a new user would copy them."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kernelsim.cli.main import exit_status

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
NEEDS_MORE = ("ls.lackey", " DIR")  # commands about files the reader brings along

EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_list_of_what_a_workload_can_do_works(tmp_path):
    """Run as it stands, with the import of the first example, its expectation holds."""
    path = tmp_path / "w.py"
    path.write_text(f"from kernelsim.workload import workload\n{EXAMPLES[1]}", encoding="utf-8")
    command = [sys.executable, "-m", "kernelsim", "run", str(path), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "expectations    1 held\n" in done.stdout
    assert '"event":"written","pgfault":' in (tmp_path / "out" / "events.jsonl").read_text()
    assert "locks waited for: {" in (tmp_path / "out" / "workload.out").read_text()


def test_each_seam_can_be_extended(tmp_path):
    """A call, tracepoint, sysctl, policy, file of /proc and kind of process from one workload."""
    path = tmp_path / "extend.py"
    path.write_text(EXAMPLES[2], encoding="utf-8")
    command = [sys.executable, "-m", "kernelsim", "run", str(path), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "expectations    5 held\n" in done.stdout
    assert '"event":"sys_getcpu","cpu":1}' in (tmp_path / "out" / "events.jsonl").read_text()


def commands() -> list[str]:
    """Return the kernelsim commands of the README, comments off, one for each ` ; `."""
    lines = re.findall(r"^ {4}(kernelsim .*)$", README, re.MULTILINE)
    parts = [part.strip() for line in lines for part in re.sub(r"\s+#.*", "", line).split(" ; ")]
    return [part for part in parts if not any(word in part for word in NEEDS_MORE)]


def test_the_example_and_every_command_work(tmp_path, monkeypatch, capsys):
    """Copied into an empty directory, each command of the README succeeds and says something."""
    (tmp_path / "hog.py").write_text(EXAMPLES[0], encoding="utf-8")
    cases = [f"tests/oracle/cases/{name}" for name in ("d02_anon", "d08")]
    for folder in ("workloads", *cases, "tests/oracle/malloc"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    monkeypatch.chdir(tmp_path)

    assert len(commands()) >= 8
    for command in commands():
        # Workers cost more than the runs.
        here = ["--jobs", "1"] if {"sweep", "stress"} & set(command.split()) else []
        status = exit_status([*shlex.split(command)[1:], *here])
        said = capsys.readouterr()

        assert (status, said.err) == (0, ""), command
        assert said.out, command


@pytest.mark.parametrize("name", re.findall(r"`((?:workloads|kernelsim)[\w/.]*)`", README))
def test_every_path_exists(name):
    """A path the README names is there."""
    assert (ROOT / name).exists()
