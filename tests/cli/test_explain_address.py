"""`kernelsim explain address`: of an architecture, of a run, and mistakes."""

import json

import pytest

from kernelsim.cli.main import exit_status

WORKLOAD = """
from kernelsim.workload import workload

@workload(machine="tiny-64m")
async def main(machine):
    machine.print("noise")
    hog = await machine.spawn("hog")
    await hog.touch(await hog.mmap("16K", address=0x10000000), write=True)
    await machine.sleep("1ms")
    await hog.touch(await hog.mmap("16K", address=0x20000000), write=True)
"""


@pytest.fixture
def told(capsys):
    """Give a function that runs the command: its status, stdout, stderr."""

    def tell(*words):
        status = exit_status(["explain", "address", *map(str, words)])
        streams = capsys.readouterr()
        return status, streams.out, streams.err

    return tell


@pytest.mark.mission("V7")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["0x7fffffffffff"], "canonical yes, the user's half"),
        (["0x800000000000"], "#GP"),
        (["0xffff7fffffffffff"], "#GP"),
        (["0xffff800000000000"], "region    guard hole"),
        (["0xbfffffff", "--arch", "i386"], "canonical yes, the user's half"),
        (["0xc0000000", "--arch", "i386"], "region    direct map, 0xc0000000-0xf8000000"),
        (["0xf8400000", "--arch", "i386"], "region    unused"),
        (["0x100000000", "--arch", "i386pae"], "it has too many bits"),
        (["0xffff888000000000", "--machine", "tiny-64m"], "-0xffff888004000000"),
    ],
)
def test_both_sides_of_each_border(told, words, expected):
    """The user's half, the hole, the kernel's half."""
    status, out, _ = told(*words)
    assert (status, expected in out) == (0, True)


def test_a_run_is_walked_at_its_end_or_before(told, tmp_path):
    """By its directory or its workload; what the workload prints is no part of it."""
    path, out = tmp_path / "w.py", tmp_path / "out"
    path.write_text(WORKLOAD)
    assert exit_status(["run", str(path), "--seed", "3", "--out", str(out)]) == 0
    told("0")  # what the run printed is gone
    status, text, _ = told("0x20000123", out, "--process", "hog")
    assert (status, text.splitlines()[0]) == (0, "process   hog, pid 100")
    assert text.splitlines()[-1].startswith("frame     ")
    assert text == told("0x20000123", out)[1]
    earlier = told("0x20000123", path, "--until", "500us", "--process", 100)[1]
    assert "outcome   #PF, no mapping" in earlier
    status, _, err = told("0", out, "--process", "nobody")
    assert (status, "100 (hog)" in err) == (2, True)
    record = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(json.dumps(record | {"nr_steps": 1}))
    assert "is another run" in told("0", out)[2]
    elsewhere = {name: value for name, value in record.items() if name != "machine_option"}
    (out / "run.json").write_text(json.dumps(elsewhere))
    assert told("0x20000123", out)[1] == text  # of an earlier version, on the workload's machine
    (out / "run.json").write_text(json.dumps(elsewhere | {"machine_sha256": "0"}))
    assert "is another run" in told("0", out, "--until", "1ms")[2]  # on another
    path.unlink()
    assert "needs the workload" in told("0", out)[2]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["12z"], "ADDRESS"),
        (["-1"], "-1"),
        (["0x10000000000000000"], "ADDRESS"),
        (["1", "--arch", "vax"], "--arch"),
        (["1", "--process", "1"], "--process"),
        (["1", "--until", "1s"], "--until"),
        (["1", "--machine", "tiny-64m", "--arch", "i386"], "--arch"),
        (["1", "/tmp", "--machine", "tiny-64m"], "--machine"),
        (["1", "--machine", "no-such"], "no-such"),
        (["1", "/no/such/run"], "RUN"),
    ],
)
def test_mistakes_are_one_line(told, words, expected):
    """Exit status 2, with what is wrong."""
    status, _, err = told(*words)
    assert (status, err.count("\n"), expected in err) == (2, 1, True)


def test_a_directory_that_is_no_run_is_refused(told, tmp_path):
    """There is no run.json."""
    assert "must hold a run" in told("1", tmp_path)[2]
