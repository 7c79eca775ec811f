"""`kernelsim run` of portable scripts, and how a file's kind is told."""

import re

import pytest

from kernelsim.cli import main as cli

SCRIPT = """# two processes that meet
sysctl vm.swappiness=10
memhog name:A mmap:a:4M touchw:a mem wait:/tmp/go munmap:a &
memhog name:B mmap:b:1M touchw:b mkfile:/tmp/go
wait
snap end
"""
PYTHON = "from kernelsim.workload import workload\n\n@workload(machine='tiny-64m')\n"


def run(tmp_path, capsys, name, text, *options):
    """Write a file and run it; return status, stdout and stderr."""
    path = tmp_path / name
    path.write_text(text)
    status = cli.exit_status(["run", str(path), *options])
    out, err = capsys.readouterr()
    return status, out, err


@pytest.mark.parametrize("name", ["script.txt", "script", "script.py", "s.workload"])
def test_a_script_runs_whatever_its_suffix(tmp_path, capsys, name):
    """Its processes' lines are printed as a recording has them, and then the summary."""
    status, out, err = run(tmp_path, capsys, name, SCRIPT)
    assert (status, err) == (cli.EXIT_DONE, "")
    lines = out.splitlines()
    assert lines[0] == "@@CMD 1: sysctl vm.swappiness=10"
    assert [line.split()[:4] for line in lines if line.startswith("proc=B")] == [
        ["proc=B", "step=2", "op=mmap:b:1M", "ret=0"],
        ["proc=B", "step=3", "op=touchw:b", "ret=0"],
    ]
    assert "[snapshot end]" in lines
    assert "\nended           done\n" in out


def test_what_a_script_prints_is_in_the_run_directory(tmp_path, capsys):
    """workload.out has the lines of the screen before the summary, on the machine chosen."""
    out_dir = tmp_path / "out"
    status, out, _ = run(
        tmp_path, capsys, "s", SCRIPT, "--out", str(out_dir), "--machine", "tiny-64m", "--check"
    )
    assert status == cli.EXIT_DONE
    kept = (out_dir / "workload.out").read_text()
    assert out.startswith(kept)
    assert re.search(r"^proc=A mem VmPeak_kB=\d+ ", kept, re.MULTILINE)
    assert (out_dir / "snapshots" / "end" / "proc" / "meminfo").exists()
    assert '"machine":"tiny-64m"' in (out_dir / "events.jsonl").read_text().splitlines()[0]


def test_a_script_that_never_ends_is_told_by_its_step(tmp_path, capsys):
    """The line and the step that nobody ends, not a bug of ours."""
    status, _, err = run(tmp_path, capsys, "s", "memhog mmap:a:1M hold\n")
    assert status == cli.EXIT_WRONG_USE
    assert err.endswith("s:1: the script never ends: nobody ends step 'hold'\n")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("s", "memhog mlock:a\n", "s:1: step 'mlock:a': region 'a' must be made"),
        (
            "s",
            "memhog mmap:a:1M dents:7\n",
            "s:1: step 'dents:7' needs 'dents', which",
        ),
        ("s", "sysctl vm.nosuch=1\n", "s:1: step 'sysctl vm.nosuch=1' writes a file that is not"),
        ("x", "hello world\n", "it begins with 'hello world'"),
        ("x", "", "it is empty"),
        ("x", "# only a comment\n", "it is empty"),
        ("w.txt", PYTHON + "async def main(): ...\n", "a workload takes one argument"),
        ("wait.py", "import os\nwait = 5\n", "no workload in it"),
    ],
)
def test_what_cannot_be_run_is_refused_in_one_line(tmp_path, capsys, name, text, said):
    """A step that is not simulated, or a file that is none of the kinds, with what was seen."""
    status, out, err = run(tmp_path, capsys, name, text)
    assert (status, out, err.count("\n")) == (cli.EXIT_WRONG_USE, "", 1)
    assert said in err


def test_a_python_workload_runs_whatever_its_suffix(tmp_path, capsys):
    """Content tells, not the name."""
    text = PYTHON + "async def main(machine):\n    machine.print('a line of its own')\n"
    status, out, _ = run(tmp_path, capsys, "w.txt", text)
    assert status == cli.EXIT_DONE
    assert out.startswith("a line of its own\nended ")


def test_a_recording_is_told_by_its_lines(tmp_path, capsys):
    """A lackey trace of another name is replayed."""
    status, out, _ = run(tmp_path, capsys, "trace.out", "==7== Lackey\n S 10000008,8\n")
    assert status == cli.EXIT_DONE
    assert "page faults     1, 0 of them major" in out


def test_a_recording_with_its_programs_output_is_told_by_its_lines(tmp_path, capsys):
    """What the program printed is left out, and said to be."""
    status, out, _ = run(
        tmp_path, capsys, "trace.out", "hello\r\n S 10000008,8 \r\nSB 1\r\nbye\r\n"
    )
    assert status == cli.EXIT_DONE
    assert "page faults     1, 0 of them major" in out
    assert "2 lines of the recording are no accesses, as line 1: 'hello'" in out


def test_each_of_several_passes_has_its_line(tmp_path, capsys):
    """Then the step its own; the faults of the passes add up to those of the step."""
    text = "memhog name:A mmap:a:1M touchw:a:0:1M:3 touchw:a\n"
    _, out, _ = run(tmp_path, capsys, "s", text, "--machine", "tiny-64m")
    lines = [line.rpartition(" ms=")[0] for line in out.splitlines() if " op=touchw" in line]
    assert lines == [
        "proc=A op=touchw pass=1 minflt=256 majflt=0",
        "proc=A op=touchw pass=2 minflt=0 majflt=0",
        "proc=A op=touchw pass=3 minflt=0 majflt=0",
        "proc=A step=3 op=touchw:a:0:1M:3 ret=0 errno=0 minflt=256 majflt=0",
        "proc=A step=4 op=touchw:a ret=0 errno=0 minflt=0 majflt=0",
    ]


def test_a_process_that_reads_its_own_status_runs(tmp_path, capsys):
    """State R, as on Linux; and a step that is refused reports its errno."""
    text = "memhog name:A adj:100 status uid:1000 adj:50\n"
    status, out, _ = run(tmp_path, capsys, "s", text, "--machine", "tiny-64m")
    assert status == cli.EXIT_DONE
    assert "\nState:\tR (running)\n" in out
    assert re.search(r"^proc=A step=5 op=adj:50 ret=-1 errno=13 ", out, re.MULTILINE)


def test_a_touch_far_behind_its_region_ends_that_process_only(tmp_path, capsys):
    """As a bug of the program would; the next line runs."""
    text = "memhog name:A mmap:a:1M touchw:a:2G:1 mem\nmemhog name:B mmap:a:1M touchw:a\n"
    status, out, _ = run(tmp_path, capsys, "s", text, "--machine", "tiny-64m")
    assert status == cli.EXIT_DONE
    assert "proc=A mem" not in out
    assert re.search(r"^proc=B step=3 op=touchw:a ret=0", out, re.MULTILINE)
    assert "SIGSEGV" in out
