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
@pytest.mark.parametrize(
    ("name", "wrong", "said"),
    [
        ("overcommit", ("ALWAYS = 1", "ALWAYS = 2"), "only mode 1 promises 4 GB"),
        ("overcommit", ('WANTED = "4G"', 'WANTED = "1G"'), "only mode 1 promises 4 GB"),
        ("overcommit", ('FITS = "1500M"', 'FITS = "3G"'), "1500 MB fit"),
    ],
)
def test_what_they_state_can_fail(name, wrong, said, tmp_path, capsys):
    """With another figure the run ends with exit status 1, and says what does not hold."""
    path = tmp_path / f"{name}.py"
    text = (FOLDER / f"{name}.py").read_text()
    assert wrong[0] in text
    path.write_text(text.replace(*wrong))
    assert cli.exit_status(["run", str(path)]) == 1
    assert said in capsys.readouterr().err


@pytest.mark.mission("V17")
def test_4_gb_of_a_machine_of_2(capsys):
    """Refused, promised, refused."""
    assert cli.exit_status(["run", str(FOLDER / "overcommit.py")]) == cli.EXIT_DONE
    out = capsys.readouterr().out
    told = [line.split(";")[0] for line in out.splitlines() if line.startswith("mode ")]
    refused = "malloc of 4 GB: Cannot allocate memory"
    assert told == [f"mode 0: {refused}", "mode 1: malloc of 4 GB: success", f"mode 2: {refused}"]
