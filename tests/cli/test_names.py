"""Tests of names that are no UTF-8 and of terminals that show ASCII only: no command minds."""

import io
import json
import os
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest

from kernelsim.cli import main as cli

WORKLOAD = """
from kernelsim.workload import workload

@workload(machine="tiny-64m")
async def main(machine):
    hog = await machine.spawn("hög…")
    await hog.touch(await hog.mmap("1M"), write=True)
    await machine.snapshot("full")
    machine.note("größer → 🐧")
"""
CASE = Path(__file__).parents[1] / "oracle" / "cases" / "s01"


@pytest.fixture
def odd(tmp_path, monkeypatch):
    """Give a function that makes names no UTF-8, in an empty current directory."""
    monkeypatch.chdir(tmp_path)

    def name_of(data):
        name = os.fsdecode(data)
        try:
            Path(name).touch()
        except OSError:
            pytest.skip("this file system takes UTF-8 names only")
        Path(name).unlink()
        return name

    return name_of


@pytest.fixture
def told(monkeypatch):
    """Give a function that runs a command on an ASCII terminal: status, stdout, stderr."""

    def tell(*words):
        streams = {name: io.TextIOWrapper(io.BytesIO(), "ascii") for name in ("stdout", "stderr")}
        for name, stream in streams.items():
            monkeypatch.setattr(sys, name, stream)
        status = cli.exit_status(list(words))
        texts = []
        for stream in streams.values():
            stream.flush()
            texts.append(stream.buffer.getvalue().decode("ascii"))
        return status, *texts

    return tell


def test_a_run_of_odd_names_is_whole(odd, told):
    """Workload, machine and directory may be named so; what the run leaves can be looked at."""
    workload, machine, out = odd(b"w\xff.py"), odd(b"m\xff.toml"), odd(b"out\xff")
    Path(workload).write_text(WORKLOAD, encoding="utf-8")
    preset = resources.files("kernelsim.config") / "presets" / "tiny-64m.toml"
    Path(machine).write_bytes(preset.read_bytes())

    status, text, error = told("run", workload, "--machine", machine, "--out", out)
    assert (status, error) == (cli.EXIT_DONE, "")
    assert "files           out\\xff\n" in text
    assert "gr\\u00f6\\u00dfer \\u2192 \\ud83d\\udc27\n" in text
    record = json.loads(Path(out, "run.json").read_bytes())
    assert record["workload"] == "w\\xff.py"
    replay = r"kernelsim run $'w\xff.py' --machine $'m\xff.toml' --seed 1"
    assert replay == record["replay"]
    looks = (
        ("show", out, "ps"),
        ("show", out, "status:100"),
        ("show", out, "vmstat 1"),
        ("show", out, "ps", "--snapshot", "full"),
        ("inspect", out),
        ("inspect", out, "--json"),
        ("inspect", out, "--sql", "select count(*) from events, metrics"),
        ("machine", "show", machine),
    )
    assert [0] * len(looks) == [told(*words)[0] for words in looks]


def test_json_stays_json(odd, told):
    """A character without a place is escaped as JSON does it, so programs read the same text."""
    workload = odd(b"w\xff.py")
    Path(workload).write_text(WORKLOAD, encoding="utf-8")
    told("run", workload, "--out", "out")
    _, text, _ = told("inspect", "out", "--event", "ks_process_start", "--json")
    assert json.loads(text)["comm"] == "hög…"


@pytest.mark.parametrize(
    "words",
    [
        ("run", b"\xff.py"),
        ("run", b"\xff.py", "--machine", b"\xff.toml"),
        ("show", b"\xff", "ps"),
        ("inspect", b"\xff"),
        ("oracle", b"\xff"),
        ("machine", "show", b"\xff.toml"),
        ("machine", "show", b"\xff"),
        ("machine", "from-proc", b"\xff"),
        ("events", b"\xff"),
        (b"\xff",),
    ],
)
def test_odd_names_of_nothing_are_wrong_use(odd, told, words):
    """A file that is not there is told in one line, its odd byte as an escape."""
    arguments = [os.fsdecode(word) if isinstance(word, bytes) else word for word in words]
    status, _, error = told(*arguments)
    assert status == cli.EXIT_WRONG_USE
    assert error.startswith("kernelsim: ")
    assert error.count("\n") == 1
    assert "\\xff" in error or "\\udcff" in error


def test_a_machine_is_written_under_an_odd_name(odd, told):
    """`--out` of `machine from-proc` may be no UTF-8."""
    out = odd(b"m\xff.toml")
    assert told("machine", "from-proc", str(CASE / "before"), "--out", out)[0] == cli.EXIT_DONE
    assert told("machine", "show", out)[0] == cli.EXIT_DONE


@pytest.mark.parametrize(
    "words",
    [
        ("--help",),
        *((command.name, "--help") for command in cli.COMMANDS),
        ("events",),
        ("events", "--json"),
        ("differences",),
        ("machine", "list"),
        ("machine", "show", "numa-2x4g"),
        ("oracle", str(CASE)),
    ],
    ids=" ".join,
)
def test_every_command_prints_on_an_ascii_terminal(told, words):
    """Nothing it prints needs more than ASCII."""
    status, text, error = told(*words)
    assert (status, error) == (cli.EXIT_DONE, "")
    assert text


@pytest.mark.slow
@pytest.mark.parametrize("setting", [{"PYTHONIOENCODING": "ascii"}, {"PYTHONUTF8": "0"}], ids=str)
def test_a_process_in_the_c_locale_reads_and_prints(odd, told, setting):
    """Files are UTF-8 whatever the locale says, and a real process prints as well."""
    workload = odd(b"w\xff.py")
    Path(workload).write_text(WORKLOAD, encoding="utf-8")
    told("run", workload, "--out", "out")
    environment = os.environ | {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"} | setting
    command = [sys.executable, "-P", "-m", "kernelsim", "show", "out", "status:100"]
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (cli.EXIT_DONE, b"")
    assert done.stdout.startswith(b"Name:\th\\u00f6g\\u2026\n")
