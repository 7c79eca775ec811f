"""A record of DAMON, as the real damo reads it."""

import subprocess
import sys
from pathlib import Path

import pytest

from kernelsim.cli import main as cli

pytestmark = [pytest.mark.slow, pytest.mark.mission("B6")]

WORKLOAD = """
from kernelsim.workload import workload
@workload(machine="small-512m")
async def main(machine):
    process = await machine.spawn("hog", cpu=0)
    area = await process.mmap("32M")
    machine.print(area.address)
    await process.touch(area, write=True)
    while machine.now_ns < 550_000_000:
        await process.touch(area, offset="8M", length="8M")
        await process.sleep("3ms")
"""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Return the directory of a run whose process was watched, and the address of its area."""
    top = tmp_path_factory.mktemp("damon")
    (top / "hog.py").write_text(WORKLOAD)
    words = ["run", str(top / "hog.py"), "--damon", "hog", "--out", str(top / "out")]
    assert cli.exit_status(words) == cli.EXIT_DONE
    return top / "out", int((top / "out" / "workload.out").read_text())


def test_damo_draws_what_was_used(recorded, tmp_path, capsys, require_tool):
    """In the heat map of the area the used quarter is hot, and the rest is cold."""
    require_tool("file", "file")  # damo asks it what kind of record there is
    out, first = recorded
    record = tmp_path / "damon.data"
    assert cli.exit_status(["inspect", str(out), "--damon", str(record)]) == cli.EXIT_DONE
    assert capsys.readouterr().out == f"{record}\n"
    damo = Path(sys.executable).with_name("damo")
    words = ["report", "heatmap", "--input", record, "--output", "raw", "--resol", "4", "32"]
    words += ["--address_range", str(first), str(first + (32 << 20))]
    done = subprocess.run([damo, *words], capture_output=True, text=True, check=True)
    rows = [line.split() for line in done.stdout.splitlines()]
    heat = {}
    for _time, at, seen in rows:
        heat.setdefault(int(at) >> 20, []).append(float(seen))
    assert sorted(heat) == list(range(32))
    hot = [sum(seen) for at, seen in heat.items() if 10 <= at < 14]
    cold = [sum(seen) for at, seen in heat.items() if at < 4 or at >= 22]
    assert min(hot) > 10 * max(1, *cold)


def test_a_run_without_damon_has_no_record(tmp_path, capsys):
    """One line says what to do; nothing is written. A name nobody has is told at the end."""
    path = tmp_path / "idle.py"
    path.write_text(
        "from kernelsim.workload import workload\n"
        '@workload(machine="small-512m")\n'
        "async def main(machine):\n    await machine.sleep(1)\n"
    )
    out = tmp_path / "out"
    assert cli.exit_status(["run", str(path), "--damon", "hgo", "--out", str(out)]) == 0
    assert "--damon hgo: the workload started no process" in capsys.readouterr().out
    record = tmp_path / "damon.data"
    assert cli.exit_status(["inspect", str(out), "--damon", str(record)]) == cli.EXIT_WRONG_USE
    assert "DAMON saw nothing in this run: run --damon all" in capsys.readouterr().err
    assert not record.exists()
