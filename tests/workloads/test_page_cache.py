"""Tests of the workloads that read files: what they state holds, whatever the seed draws."""

import os
from pathlib import Path

import pytest

from kernelsim.cli import main as cli

FOLDER = Path(__file__).parents[2] / "workloads"


@pytest.mark.slow
@pytest.mark.mission("R7")
def test_readahead_brings_what_is_read_next_and_takes_nothing_in_use():
    """A cold 4 KiB read brings 16 KiB; a hot set survives readahead that was for nothing."""
    assert cli.exit_status(["run", str(FOLDER / "readahead.py"), "--seed=2"]) == cli.EXIT_DONE


@pytest.mark.slow
@pytest.mark.mission("R8")
def test_a_stream_takes_only_what_was_read_once():
    """A one-pass scan of twice the memory leaves the pages that were read twice."""
    path = FOLDER / "backup_evicts_database.py"
    assert cli.exit_status(["run", str(path), "--seed=2"]) == cli.EXIT_DONE


TIMES = "read, 100.0, 100.5\nwrite, 101.0, 101.1\n"
TABLE = "task,file_1,file_2,file_3,file_4\n"
ATOP = "RESET\nMEM c 100 d t 1 4096 9000 8000 1000 5 6 7 8 0\nSEP\n"


@pytest.mark.slow
@pytest.mark.mission("R13")
def test_the_pipeline_stands_beside_a_recording(tmp_path, monkeypatch, capsys):
    """Phases, their mean error, cached files and curves come from the folder of the size."""
    folder = tmp_path / "0.25gb"
    folder.mkdir()
    (folder / "timestamps.csv").write_text(3 * TIMES)
    rows = (f"{kind}_{number},1,2,3,4\n" for number in (1, 2, 3) for kind in ("read", "write"))
    (folder / "fincore.csv").write_text(TABLE + "".join(rows))
    (folder / "atop_mem.log").write_text(ATOP)
    monkeypatch.setenv("PIPELINE_LOGS", str(tmp_path))

    assert cli.exit_status(["run", str(FOLDER / "page_cache_pipeline.py")]) == cli.EXIT_DONE
    printed = capsys.readouterr().out.split("\n")
    assert "read_1        0.49 s    0.50 s    1.9%" in printed
    assert "read_1      0.2 /    1    0.0 /    2    0.0 /    3    0.0 /    4" in printed
    assert "     0     0.0 /   0.0    0.00 /  0.00" in printed
    assert any(line.startswith("mean error of the phases") for line in printed)


@pytest.mark.slow
@pytest.mark.mission("R13")
@pytest.mark.skipif("PIPELINE_LOGS" not in os.environ, reason="PIPELINE_LOGS names no recording")
def test_the_pipeline_of_20_gb_takes_the_time_it_took_on_the_node(monkeypatch, capsys):
    """The phases are off by 15 % at most in the mean."""
    monkeypatch.setenv("PIPELINE_GB", "20")
    assert cli.exit_status(["run", str(FOLDER / "page_cache_pipeline.py")]) == cli.EXIT_DONE
    line = next(x for x in capsys.readouterr().out.split("\n") if x.startswith("mean error"))
    assert float(line.split()[-1].rstrip("%")) <= 15
