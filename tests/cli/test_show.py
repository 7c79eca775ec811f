"""Tests of `kernelsim show`: files and tools of a run, as the real tools print them."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from kernelsim.cli.main import exit_status
from kernelsim.report.machine_run import run_machine
from kernelsim.report.rate_text import Samples
from kernelsim.report.run_options import RunOptions
from kernelsim.workload.api import Workload


async def main(machine):
    """Swap on one node of two, with a process left at the end and a snapshot in the middle."""
    process = await machine.spawn("hog", cpu=0)
    area = await process.mmap("8M")
    await process.touch(area, write=True)
    await machine.snapshot("early")
    await machine.sleep("3s")
    await process.touch(area)
    other = await machine.spawn("other")
    await other.exit()


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of a run on two nodes."""
    out = tmp_path_factory.mktemp("run")
    run_machine(Workload(main, "machine", "numa-2x4g"), RunOptions(out=out), name="w.py")
    return out


def show(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """Return what the command prints; it must succeed."""
    assert exit_status(["show", *map(str, words)]) == 0
    return capsys.readouterr().out


def test_files_are_printed_as_they_are(directory: Path, capsys):
    """Files of /proc, of a process and of a snapshot come out byte for byte."""
    for name in ("zoneinfo", "meminfo", "vmstat", "buddyinfo", "pagetypeinfo", "swaps"):
        assert show(capsys, directory, name) == (directory / "proc" / name).read_text()
    assert show(capsys, directory, "maps:100") == (directory / "proc/100/maps").read_text()
    early = directory / "snapshots/early/proc/vmstat"
    assert show(capsys, directory, "vmstat", "--snapshot", "early") == early.read_text()
    assert early.read_text() != (directory / "proc/vmstat").read_text()


@pytest.mark.mission("P17")
@pytest.mark.parametrize(
    ("what", "package"), [("free", "procps"), ("numactl -H", "numactl"), ("numastat", "numactl")]
)
def test_real_tools_print_the_same(what, package, directory, capsys, require_tool):
    """The real tool, with our trees bound over the real ones, prints the same bytes."""
    require_tool(what.split()[0], package)
    binds = [
        (directory / "sys/devices/system/node", "/sys/devices/system/node"),
        (directory / "proc/meminfo", "/proc/meminfo"),
    ]
    mounts = " && ".join(f"mount --bind '{ours}' {real}" for ours, real in binds)
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", f"{mounts} && {what}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "unshare" in done.stderr or "mount" in done.stderr:
        assert "KERNELSIM_CI" not in os.environ, done.stderr
        pytest.skip(f"no private mounts here: {done.stderr.strip()}")
    assert show(capsys, directory, what) == done.stdout


def test_processes(directory: Path, capsys):
    """Ps lists the living process with its sizes; pmap its mappings and their sum."""
    head, *lines = show(capsys, directory, "ps").splitlines()
    assert head.split()[:6] == ["USER", "PID", "%CPU", "%MEM", "VSZ", "RSS"]
    assert [line.split()[1] for line in lines] == ["100"]
    vsz = int(lines[0].split()[4])
    pmap = show(capsys, directory, "pmap:100").splitlines()
    assert pmap[0] == "100:   hog"
    assert pmap[-1] == f" total {vsz:16d}K"
    assert sum(int(line.split()[1].removesuffix("K")) for line in pmap[1:-1]) == vsz
    assert any(line.endswith("K rw---   [ anon ]") for line in pmap)


def test_rates_over_virtual_time(directory: Path, capsys):
    """The rates of `sar -B` are the faults of each second; vmstat has a line a second."""
    text = show(capsys, directory, "sar -B 1")
    lines = text.splitlines()
    assert lines[2].split()[1:] == [
        *("pgpgin/s", "pgpgout/s", "fault/s", "majflt/s", "pgfree/s"),
        *("pgscank/s", "pgscand/s", "pgsteal/s", "%vmeff"),
    ]
    assert [line.split()[0] for line in lines[3:6]] == ["00:00:01", "00:00:02", "00:00:03"]
    assert float(lines[3].split()[3]) == 2048.0
    assert float(lines[4].split()[3]) == 0.0
    assert lines[-1].startswith("Average:")
    assert show(capsys, directory, "sar -B") == text
    vmstat = show(capsys, directory, "vmstat 1").splitlines()
    assert vmstat[1].split()[:4] == ["r", "b", "swpd", "free"]
    assert len(vmstat) == 2 + 1 + 4
    samples = Samples(directory / "metrics.parquet")
    assert int(vmstat[-1].split()[3]) == int(samples.total("free")[-1]) * 4


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["nothing"], "must be one of zoneinfo"),
        (["maps:1"], "no such process; there are 100"),
        (["maps:"], "no such process"),
        (["free", "--snapshot", "late"], "the run has early"),
        (["vmstat -1"], "-1"),
        (["sar -B 0"], "above 0"),
    ],
)
def test_mistakes_are_one_line(words: list[str], text: str, directory: Path, capsys):
    """What cannot be shown is refused in one line on stderr, with exit status 2."""
    assert exit_status(["show", str(directory), *words]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1
    assert text in output.err


def test_a_directory_without_a_run_is_refused(tmp_path: Path, capsys):
    """A directory that holds no run, or one that did not get to its end, is named as such."""
    assert exit_status(["show", str(tmp_path), "free"]) == 2
    assert "no events.jsonl" in capsys.readouterr().err
    (tmp_path / "events.jsonl").write_text("")
    assert exit_status(["show", str(tmp_path), "free"]) == 2
    assert "did not get to its end" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("file", "what"),
    [
        ("proc/zoneinfo", "zoneinfo"),
        ("proc/uptime", "ps"),
        ("proc/100/stat", "ps"),
        ("proc/meminfo", "free"),
        ("proc/stat", "vmstat 1"),
        ("sys/devices/system/node/node0/meminfo", "numactl -H"),
        ("metrics.parquet", "sar -B"),
    ],
)
@pytest.mark.parametrize("data", [None, b"\xff\x00junk"])
def test_damaged_files_of_a_run_are_one_line(directory, tmp_path, capsys, file, what, data):
    """A file of the run that is gone, or is no longer what it was, gives no traceback."""
    copy = tmp_path / "run"
    shutil.copytree(directory, copy)
    (copy / file).unlink()
    if data is not None:
        (copy / file).write_bytes(data)
    assert exit_status(["show", str(copy), what]) == 2
    output = capsys.readouterr()
    assert (output.out, output.err.count("\n")) == ("", 1)
    assert str(copy) in output.err
