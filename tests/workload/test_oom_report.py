"""An OOM report happens again: whom the real kernel killed is killed here."""

import pytest

from kernelsim.cli import main as cli
from tests.oom_text import OLD, report
from tests.oracle.test_oom_report import CASE

HEALTHY = (  # java holds most; the others are small
    (1, "systemd", 300, 0, 0),
    (900, "java", 9000, 1000, 0),
    (901, "worker", 1000, 0, 0),
)


def run(text, folder):
    """Run a log; return the exit status."""
    (folder / "dmesg.txt").write_text(text)
    return cli.exit_status(["run", str(folder / "dmesg.txt")])


@pytest.mark.mission("R12")
@pytest.mark.mission("B5")
@pytest.mark.parametrize(
    ("text", "victim"),
    [
        (report(), "worker (901)"),  # what is in swap counts like what is in memory
        (report(tasks=HEALTHY, killed=900), "java (900)"),
        (OLD, "httpd (77)"),
    ],
)
def test_the_same_process_is_killed(text, victim, tmp_path, capsys):
    """The largest by memory and swap, adjusted, whoever asks."""
    assert run(text, tmp_path) == cli.EXIT_DONE
    assert f"killed here: {victim}; the kernel killed {victim}" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.mission("R12")
def test_a_recorded_report_happens_again(tmp_path, capsys):
    """The first of d08: a task of 50 MiB with oom_score_adj 500 dies beside one of 150 MiB."""
    assert run((CASE / "dmesg.txt").read_text(), tmp_path) == cli.EXIT_DONE
    assert "killed here: C (94); the kernel killed C (94)" in capsys.readouterr().out


def test_another_victim_fails(tmp_path, capsys):
    """What the log says and the rules do not give is an expectation that fails: status 1."""
    assert run(report(killed=1), tmp_path) == cli.EXIT_CHECK_FAILED
    assert "systemd is killed first" in capsys.readouterr().err


def test_a_log_that_ends_early_asks_nothing(tmp_path, capsys):
    """Without the line of the kill it is told who dies here."""
    text = report().split("oom-kill:")[0]
    assert run(text, tmp_path) == cli.EXIT_DONE
    assert "worker (901); the log does not say whom" in capsys.readouterr().out


def test_tasks_that_share_memory_are_cut(tmp_path, capsys):
    """Where more is resident than there is memory, all have less in proportion."""
    tasks = tuple((pid, name, 4 * rss, 0, 0) for pid, name, rss, _, _ in HEALTHY)
    assert run(report(tasks=tasks, killed=900), tmp_path) == cli.EXIT_DONE
    assert "pages of 3 tasks are shared in part" in capsys.readouterr().out
