"""Tests of `kernelsim show "vmstat 1"` and `"sar -B"`, `-W`, `-r`, beside the real tools."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from kernelsim.cli.main import exit_status
from tests.private_mounts import require_mounts
from tests.real_tools import ENVIRONMENT, SNAPSHOTS, inside, pressed_run, read_tree


@pytest.fixture(scope="module")
def pressed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of a run under pressure, with a snapshot at each second."""
    return pressed_run(tmp_path_factory.mktemp("pressed"))


def show(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """Return what the command prints; it must succeed."""
    assert exit_status(["show", *map(str, words)]) == 0
    return capsys.readouterr().out


def test_real_vmstat_prints_the_same(pressed: Path, capsys, require_tool):
    """`vmstat 1` prints the same lines while the snapshots pass by, a second each."""
    require_tool("vmstat", "procps")
    ours = show(capsys, pressed, "vmstat 1").splitlines()
    trees = [pressed / "snapshots" / name for name in SNAPSHOTS]
    with inside(trees[0], ("vmstat", "1", str(len(trees)))) as (words, proc):
        real = watched(words, proc, trees[1:])

    assert len(real) == 2 + len(trees)
    assert ours[:3] == real[:3]
    # Memory stands in columns 2 to 5. This vmstat reads it once; so we ask it at each snapshot.
    for tree, mine, theirs in zip(trees[1:], ours[3:], real[3:], strict=True):
        now = read_tree(tree, "vmstat").splitlines()[2].split()
        words = theirs.split()
        assert mine.split() == [*words[:2], *now[2:6], *words[6:]]
        assert len(mine) == len(theirs)
    assert any(int(line.split()[6]) > 0 for line in ours[3:])


def watched(words: list[str], proc: Path, trees: list[Path]) -> list[str]:
    """Return the lines of a vmstat under whose eyes the trees pass by."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        words, stdout=pipe, stderr=pipe, text=True, env=os.environ | ENVIRONMENT
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        lines = [process.stdout.readline() for _ in range(3)]
        for tree in trees:
            for name in ("stat", "meminfo", "vmstat", "uptime"):
                (proc / name).write_text((tree / "proc" / name).read_text())
            lines.append(process.stdout.readline())
        errors = process.stderr.read()
    require_mounts(process.returncode, errors)
    return [line.rstrip("\n") for line in lines]


@pytest.mark.mission("R10")
def test_real_sar_prints_the_same(pressed: Path, tmp_path: Path, capsys, require_tool):
    """`sar -B` prints the same, but for who, when, and what it takes for scanned and stolen."""
    require_tool("sar", "sysstat")
    sadc = require_tool("/usr/lib/sysstat/sadc", "sysstat")
    for name in SNAPSHOTS:
        read_tree(pressed / "snapshots" / name, sadc, "1", "1", str(tmp_path / "sa"))
    done = subprocess.run(
        ["sar", "-B", "-f", str(tmp_path / "sa")],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | ENVIRONMENT,
    )
    real, ours = done.stdout.splitlines(), show(capsys, pressed, "sar -B 1").splitlines()
    title = r"Linux \S+ \(\S+\) \t\d{4}-\d\d-\d\d \t_x86_64_\t\(3 CPU\)"
    assert re.fullmatch(title, real[0])
    assert re.fullmatch(title, ours[0])
    assert len(ours) == len(real)
    for mine, theirs in zip(ours[1:], real[1:], strict=True):
        # The time of day is our virtual one; pgscand, pgsteal and %vmeff follow.
        assert mine[8:71] == theirs[8:71]
        assert len(mine) == len(theirs)
    assert_scans(
        pressed, [line[71:].split() for line in real], [line[71:].split() for line in ours]
    )


@pytest.mark.mission("R10")
@pytest.mark.parametrize("option", ["-W", "-r"])
def test_real_sar_shows_swapping_and_memory(
    option: str, pressed: Path, tmp_path: Path, capsys, require_tool
):
    """`sar -W` and `sar -r` print the same, but for who, when, and the time of day."""
    require_tool("sar", "sysstat")
    sadc = require_tool("/usr/lib/sysstat/sadc", "sysstat")
    for name in SNAPSHOTS:
        file = str(tmp_path / "sa")
        read_tree(pressed / "snapshots" / name, sadc, "-S", "XALL", "1", "1", file)
    done = subprocess.run(
        ["sar", option, "-f", str(tmp_path / "sa")],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | ENVIRONMENT,
    )
    ours = show(capsys, pressed, f"sar {option} 1").splitlines()
    assert [line[8:] for line in ours[1:]] == [line[8:] for line in done.stdout.splitlines()[1:]]


def assert_scans(run: Path, real: list[list[str]], ours: list[list[str]]) -> None:
    """Hold the last columns: sar counts throttling as scanning, and older ones steal twice."""
    assert ours[2] == real[2]
    texts = [(run / "snapshots" / name / "proc/vmstat").read_text() for name in SNAPSHOTS]
    events = [dict(line.split() for line in text.splitlines()) for text in texts]

    def grown(index: int, *names: str) -> int:
        return sum(int(events[index][n]) - int(events[index - 1][n]) for n in names)

    for second, (mine, theirs) in enumerate(zip(ours[3:-1], real[3:-1], strict=True), start=1):
        scanned = grown(second, "pgscan_direct")
        stolen = grown(second, "pgsteal_kswapd", "pgsteal_direct")
        throttled = grown(second, "pgscan_direct_throttle")
        assert [scanned, stolen] == [float(mine[0]), float(mine[1])]
        assert stolen <= grown(second, "pgscan_kswapd") + scanned
        assert scanned + throttled == float(theirs[0])
        by_kind = grown(second, "pgsteal_anon", "pgsteal_file")
        assert by_kind == stolen
        assert float(theirs[1]) in (stolen, stolen + by_kind)
