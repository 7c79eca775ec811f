"""Tests of `kernelsim show`: files and tools of a run, as the real tools print them."""

import json
import os
import re
import shlex
import shutil
from pathlib import Path

import pytest

from kernelsim.cli.main import exit_status
from kernelsim.cli.show import tool_text
from kernelsim.config.machine_file import load_machine, machine_from_toml
from kernelsim.errors import ConfigError
from kernelsim.procfs.capture import capture
from kernelsim.report.machine_run import run_machine
from kernelsim.report.rate_text import Samples
from kernelsim.report.run_options import RunOptions
from kernelsim.report.tool_text import numactl_show_text, numactl_text, start_text
from kernelsim.workload.api import Workload
from tests.real_tools import (
    pressed_run,
    read_tree,
    write_tree,
)
from tests.small_machine import OpenMachine, opened


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
    run_machine(Workload(opened(main), "machine", "numa-2x4g"), RunOptions(out=out), name="w.py")
    return out


def show(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """Return what the command prints; it must succeed."""
    assert exit_status(["show", *map(str, words)]) == 0
    return capsys.readouterr().out


def test_files_are_printed_as_they_are(directory: Path, capsys):
    """Files of /proc, of a process and of a snapshot come out byte for byte."""
    for name in ("zoneinfo", "meminfo", "vmstat", "buddyinfo", "pagetypeinfo", "slabinfo", "swaps"):
        assert show(capsys, directory, name) == (directory / "proc" / name).read_text()
    assert show(capsys, directory, "maps:100") == (directory / "proc/100/maps").read_text()
    early = directory / "snapshots/early/proc/vmstat"
    assert show(capsys, directory, "vmstat", "--snapshot", "early") == early.read_text()
    assert early.read_text() != (directory / "proc/vmstat").read_text()


@pytest.fixture(scope="module")
def pressed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of a run under pressure, with a snapshot at each second."""
    return pressed_run(tmp_path_factory.mktemp("pressed"))


@pytest.mark.mission("P17")
@pytest.mark.parametrize("which", ["directory", "pressed"])
@pytest.mark.parametrize(
    ("what", "package"), [("free", "procps"), ("numactl -H", "numactl"), ("numastat", "numactl")]
)
def test_real_tools_print_the_same(which, what, package, request, capsys, require_tool):
    """The real tool, with our trees bound over the real ones, prints the same bytes."""
    require_tool(what.split()[0], package)
    run = request.getfixturevalue(which)
    assert show(capsys, run, what) == read_tree(run, *what.split())


@pytest.mark.mission("P17")
def test_numactl_shows_the_same_of_itself(tmp_path: Path, require_tool):
    """`numactl -s` is the same on a machine whose CPUs the real one has, too."""
    require_tool("numactl", "numactl")
    if 0 not in os.sched_getaffinity(0):
        pytest.skip("numactl also asks the running kernel, and may not use CPU 0 here")
    tree = write_tree(capture(OpenMachine(load_machine("tiny-64m")).kernel), tmp_path)
    assert numactl_show_text(tree) == read_tree(tree, "numactl", "-s")


@pytest.mark.mission("P17")
def test_numactl_of_a_kernel_without_nodes(tmp_path: Path, require_tool):
    """Of a 32-bit kernel without NUMA `numactl -H` says the same, and numastat is refused."""
    require_tool("numactl", "numactl")
    node = {"cpus": "0", "memory": "32M"}
    spec = machine_from_toml({"name": "old", "arch": "i386", "node": [node]})
    tree = write_tree(capture(OpenMachine(spec).kernel), tmp_path)
    assert numactl_text(tree) == read_tree(tree, "numactl", "-H")
    for what in ("numastat", "numactl -s"):
        with pytest.raises(ConfigError, match="no NUMA nodes"):
            tool_text(tree, what)


@pytest.mark.mission("V12")
@pytest.mark.parametrize("which", ["directory", "pressed"])
def test_real_pmap_prints_the_same(which, request, capsys, require_tool):
    """`pmap` and `pmap -x` print the same bytes of a process."""
    require_tool("pmap", "procps")
    run = request.getfixturevalue(which)
    assert show(capsys, run, "pmap:100") == read_tree(run, "pmap", "100")
    assert show(capsys, run, "pmap -x 100") == read_tree(run, "pmap", "-x", "100")


def without_start(text: str, *, command: str = "") -> list[str]:
    """Return the lines of `ps aux` without START, which depends on today's date, by pid."""
    lines = [line for line in text.splitlines() if not (command and line.endswith(command))]
    head, *rest = [f"{line[:52]}{line[57:]}" for line in lines]
    return [head, *sorted(rest)]


@pytest.mark.mission("V16")
@pytest.mark.parametrize("which", ["directory", "pressed", "strange"])
def test_real_ps_prints_the_same(which, request, capsys, require_tool):
    """`ps aux` prints the same lines, but for START, and for itself."""
    require_tool("ps", "procps")
    run = request.getfixturevalue(which)
    real = read_tree(run, "ps", "aux")
    assert without_start(show(capsys, run, "ps")) == without_start(real, command="ps aux")


@pytest.fixture(scope="module")
def strange(pressed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run whose processes do not fit the columns of ps, or have no command line."""
    run = tmp_path_factory.mktemp("strange") / "run"
    shutil.copytree(pressed, run, symlinks=True)
    for pid, (ticks, rss, size_kb, start, uid, command) in STRANGE.items():
        folder = run / f"proc/{pid}"
        shutil.copytree(run / "proc/100", folder)
        _, _, rest = (folder / "stat").read_text().partition(") ")
        fields = rest.split()
        fields[11], fields[12] = str(ticks), "0"
        fields[19:22] = [str(start), str(size_kb * 1024), str(rss)]
        (folder / "stat").write_text(f"{pid} (hog) {' '.join(fields)}\n")
        status = (folder / "status").read_text()
        for name, value in {"Pid": pid, "Tgid": pid, "Uid": "\t".join([uid] * 4)}.items():
            status = re.sub(rf"(?m)^{name}:.*", f"{name}:\t{value}", status)
        for name, kb in {"VmRSS": rss * 4, "VmSize": size_kb, "VmLck": int(uid) % 2}.items():
            status = re.sub(rf"(?m)^{name}:.*", f"{name}:\t{kb:8d} kB", status)
        (folder / "status").write_text(status)
        (folder / "cmdline").write_text(command)
    return run


# Ticks, resident pages, kB, start, owner (locks memory if odd), command line; up 3 seconds.
STRANGE = {
    "201": (96, 11000, 93484, 0, "0", "x\0-a\0b c\0"),
    "202": (99, 20000, 1234567, 10, "12345", ""),
    "203": (299, 1, 12345678, 0, "0", "z\0"),
    "204": (700000, 1000, 5, 270, "0", "z\0"),
    "205": (360123, 1000000, 5000000, 0, "0", "z\0"),
}


@pytest.mark.parametrize(
    ("start", "uptime", "expected"),
    [(6_100, 360_000, "00:01"), (8_640_000, 8_640_100, "00:00"), (8_639_999, 8_640_000, "Jan01")],
)
def test_start_is_a_time_of_virtual_today(start: int, uptime: int, expected: str):
    """START is the time on the present virtual day, and the date of a day before it."""
    assert start_text(start, uptime) == expected


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


def test_without_what_the_choices_are_listed(directory: Path, capsys):
    """Each of them can be shown; processes and snapshots are those of the run."""
    expected = """\
files          zoneinfo meminfo vmstat buddyinfo pagetypeinfo slabinfo vmallocinfo swaps stat \
uptime cpuinfo diskstats pressure/cpu pressure/io pressure/memory lru_gen
of a process   maps:PID smaps:PID smaps_rollup:PID numa_maps:PID status:PID stat:PID statm:PID \
oom_score:PID pmap:PID
               "pmap -x PID"
PID is one of  100
tools          numastat "numactl -H" "numactl -s" free ps
over the time  "vmstat SECONDS" "sar -B SECONDS" "sar -W SECONDS" "sar -r SECONDS"
--snapshot     early
"""
    assert show(capsys, directory) == expected
    for line in expected.replace("PID is one of  100\n", "").splitlines()[:-1]:
        for what in shlex.split(line[15:]):
            assert show(capsys, directory, what.replace("PID", "100").replace("SECONDS", "1"))


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["nothing"], "must be one of zoneinfo"),
        (["maps:1"], "there was no such process; alive are 100"),
        (["maps:"], "no such process"),
        (["pmap -x 7"], "'pmap -x 7': there was no such process; alive are 100"),
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


def test_a_process_that_is_not_alive(tmp_path: Path, capsys):
    """Like Linux there is no /proc/PID of it; the message says how it ended, or that it did not."""

    async def main(machine):
        ended = await machine.spawn("ended")
        await ended.exit(3)
        stray = await machine.spawn("stray")
        await stray.touch_pages([1], [1])
        await machine.snapshot("early")
        await machine.spawn("late")

    options = RunOptions(machine="tiny-64m", out=tmp_path)
    run_machine(Workload(opened(main), "machine"), options, name="w.py")

    def complaint(*words: str) -> str:
        assert exit_status(["show", str(tmp_path), *words]) == 2
        return capsys.readouterr().err.split(" there is no /proc/")[1]

    assert complaint("status:100") == "100: it ended with exit status 3; alive are 102\n"
    assert complaint("stat:101") == "101: it ended with SIGSEGV; alive are 102\n"
    early = complaint("status:102", "--snapshot", "early")
    assert early == "102: it had not begun; no process is alive\n"
    record = json.loads((tmp_path / "run.json").read_text())
    assert [each["exit_status"] for each in record["processes"]] == [3, -11, None]
    (tmp_path / "run.json").write_text(json.dumps(record | {"processes": [1]}))
    assert exit_status(["show", str(tmp_path), "status:100"]) == 2
    assert "is not as kernelsim writes it" in capsys.readouterr().err
