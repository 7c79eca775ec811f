"""The README is true: its example and its commands are run as a new user would copy them."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
NEEDS_MORE = ("ls.lackey", " DIR")  # commands about files the reader brings along


def commands() -> list[str]:
    """Return the kernelsim commands of the README, comments off, one for each ` ; `."""
    lines = re.findall(r"^ {4}(kernelsim .*)$", README, re.MULTILINE)
    parts = [part.strip() for line in lines for part in re.sub(r"\s+#.*", "", line).split(" ; ")]
    return [part for part in parts if not any(word in part for word in NEEDS_MORE)]


def test_the_example_and_every_command_work(tmp_path):
    """Copied into an empty directory, each command of the README succeeds and says something."""
    example = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert example is not None
    (tmp_path / "hog.py").write_text(example[1], encoding="utf-8")
    for folder in ("workloads", "tests/oracle/cases/d02_anon"):
        shutil.copytree(ROOT / folder, tmp_path / folder)

    assert len(commands()) >= 8
    for command in commands():
        words = [sys.executable, "-m", *shlex.split(command)]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)

        assert (done.returncode, done.stderr) == (0, ""), command
        assert done.stdout, command


@pytest.mark.parametrize("name", re.findall(r"`((?:workloads|kernelsim)[\w/.]*)`", README))
def test_every_path_exists(name):
    """A path the README names is there."""
    assert (ROOT / name).exists()
