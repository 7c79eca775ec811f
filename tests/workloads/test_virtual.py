"""Workloads of virtual memory: what they state on another machine, and that it can fail."""

from pathlib import Path

import pytest

from kernelsim.cli import main as cli

FOLDER = Path(__file__).parents[2] / "workloads"


@pytest.mark.mission("V18")
def test_32_bits_promise_no_more_than_there_are_addresses(capsys):
    """Of 8 GB two are promised: the third does not fit beside the program in 3 GB."""
    words = ["run", str(FOLDER / "malloc_8g.py"), "--machine", str(FOLDER / "i386-4g.toml")]
    assert cli.exit_status(words) == cli.EXIT_DONE
    out = capsys.readouterr().out
    assert "i386pae: 2 of 8 GB promised, then: Cannot allocate memory\n" in out


@pytest.mark.mission("V18")
def test_64_bits_promise_all_and_touching_ends_the_program(capsys):
    """The OOM killer does it."""
    assert cli.exit_status(["run", str(FOLDER / "malloc_8g.py")]) == cli.EXIT_DONE
    out = capsys.readouterr().out
    assert "x86_64: 8 of 8 GB promised\n" in out
    assert "OOM kills: 1\n" in out


@pytest.mark.mission("V17")
def test_4_gb_of_a_machine_of_2(capsys):
    """Refused, promised, refused."""
    assert cli.exit_status(["run", str(FOLDER / "overcommit.py")]) == cli.EXIT_DONE
    out = capsys.readouterr().out
    told = [line.split(";")[0] for line in out.splitlines() if line.startswith("mode ")]
    refused = "malloc of 4 GB: Cannot allocate memory"
    assert told == [f"mode 0: {refused}", "mode 1: malloc of 4 GB: success", f"mode 2: {refused}"]


@pytest.mark.mission("V19")
def test_128_tb_of_a_machine_of_2_in_proportion(capsys):
    """Promised alone; killed beside other memory without swap; promised with it."""
    assert cli.exit_status(["run", str(FOLDER / "malloc_128t.py")]) == cli.EXIT_DONE
    told = [line.split("; ")[0] for line in capsys.readouterr().out.splitlines()[:3]]
    assert [line.split(": ")[-1] for line in told] == [
        "success",
        "killed by the OOM killer",
        "success",
    ]
