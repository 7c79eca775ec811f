"""Workloads of virtual memory: what they state on another machine, and that it can fail."""

import pytest

from kernelsim.cli import main as cli
from tests.workload_runs import FOLDER, ran


@pytest.mark.mission("V18")
def test_32_bits_promise_no_more_than_there_are_addresses(capsys):
    """Of 8 GB two are promised: the third does not fit beside the program in 3 GB."""
    words = ["run", str(FOLDER / "malloc_8g.py"), "--machine", str(FOLDER / "i386-4g.toml")]
    assert cli.exit_status(words) == cli.EXIT_DONE
    out = capsys.readouterr().out
    assert "i386pae: 2 of 8 GB promised, then: Cannot allocate memory\n" in out


@pytest.mark.mission("V18")
def test_64_bits_promise_all_and_touching_ends_the_program():
    """The OOM killer does it."""
    status, out = ran("malloc_8g")
    assert status == cli.EXIT_DONE
    assert "x86_64: 8 of 8 GB promised\n" in out
    assert "OOM kills: 1\n" in out


@pytest.mark.mission("V17")
def test_4_gb_of_a_machine_of_2():
    """Refused, promised, refused."""
    status, out = ran("overcommit")
    assert status == cli.EXIT_DONE
    told = [line.split(";")[0] for line in out.splitlines() if line.startswith("mode ")]
    refused = "malloc of 4 GB: Cannot allocate memory"
    assert told == [f"mode 0: {refused}", "mode 1: malloc of 4 GB: success", f"mode 2: {refused}"]


@pytest.mark.mission("V19")
def test_128_tb_of_a_machine_of_2_in_proportion():
    """Promised alone; killed beside other memory without swap; promised with it."""
    status, out = ran("malloc_128t")
    assert status == cli.EXIT_DONE
    told = [line.split("; ")[0] for line in out.splitlines()[:3]]
    assert [line.split(": ")[-1] for line in told] == [
        "success",
        "killed by the OOM killer",
        "success",
    ]
