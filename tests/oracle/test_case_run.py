"""Running scripts of recorded cases: what each step does and writes, and what is refused."""

import re
import shutil
from pathlib import Path

import pytest

from kernelsim.actors.process.calls.table import CALLS
from kernelsim.errors import InvariantViolation, RecordingError, WorkloadError
from kernelsim.mm.core.mem import Z_FREE
from kernelsim.oracle.case_run import check_case, run_case
from kernelsim.workload.handle import ProcessHandle
from kernelsim.workload.script.process import STEPS, supported_steps
from kernelsim.workload.script.script_steps import GRAMMAR

CASES = Path(__file__).parents[1] / "oracle" / "cases"


def case_of(tmp_path, script, base="s01"):
    """Make a case: a recorded machine and a script of our own."""
    case = tmp_path / "case"
    shutil.copytree(CASES / base, case)
    (case / "script.txt").write_text(script)
    return case


def lines_of(tmp_path, script):
    """Run a script; return the lines of workload.out."""
    out = tmp_path / "out"
    out.mkdir()
    run_case(case_of(tmp_path, script), out)
    return (out / "workload.out").read_text().splitlines()


def fields_of(lines, op):
    """Return the fields of the line of a step, by its text."""
    line = next(line for line in lines if f" op={op} " in line)
    return dict(re.findall(r"(\S+)=(\S+)", line))


def test_a_run_has_the_layout_of_a_recording(tmp_path):
    """Every file of the recorded snapshot is written, and nothing is missing from the run."""
    out = tmp_path / "out"
    out.mkdir()
    run_case(case_of(tmp_path, "snap later\n"), out)
    recorded = {path.relative_to(CASES / "s01" / "before") for path in files(CASES / "s01/before")}

    for name in ("before", "later"):
        assert recorded == {path.relative_to(out / name) for path in files(out / name)}
    assert ["@@CMD 1: snap later", "[snapshot later]"] == (
        (out / "workload.out").read_text().splitlines()[:2]
    )


def files(folder):
    """Return the files below a folder."""
    return (path for path in folder.rglob("*") if path.is_file())


@pytest.mark.slow
def test_steps_of_a_process(tmp_path):
    """Mapping, touching, unmapping: results, faults and fields; steps are counted from 1."""
    lines = lines_of(
        tmp_path,
        "memhog name:P adj:7 cpu:0 uid:9 mmap:a:1M touchw:a:0:512K touchr:a:0:1M:2:8K randw:a:3:100"
        " randr:a:3:100 madvise:a:dontneed touchw:a munmap:a mmapnr:b:4G grow:1M:2M:1M"
        " growsnap:1M:1M mark:end status statm maps smaps oom_score\n",
    )

    assert ("2", "0", "0") == step(lines, "adj:7", "step", "ret", "errno")
    assert ("128", "0") == step(lines, "touchw:a:0:512K", "minflt", "majflt")
    assert ("64",) == step(lines, "touchr:a:0:1M:2:8K", "minflt")
    assert ("0",) == step(lines, "randr:a:3:100", "minflt")
    assert ("256",) == step(lines, "touchw:a", "minflt")
    assert ("14", "2048", "512") == step(lines, "grow:1M:2M:1M", "step", "total_kB", "minflt")
    assert ["proc=P grown_kB=1024", "proc=P grown_kB=2048"] == [
        line for line in lines if re.fullmatch(r"proc=P grown_kB=\d+", line)
    ]
    snapped = next(line for line in lines if "free_0_DMA=" in line)
    assert snapped.endswith("pgscan_kswapd=0 pgscan_direct=0 pswpout=0")
    assert "proc=P mark=end" in lines
    for file, text in (("status", "Uid:\t9\t9\t9\t9"), ("oom_score", "676")):
        begin = lines.index(f"proc=P begin=/proc/self/{file}")
        assert text in lines[begin : lines.index(f"proc=P end=/proc/self/{file}")]


def step(lines, op, *keys):
    """Return some fields of the line of a step."""
    fields = fields_of(lines, op)
    return tuple(fields[key] for key in keys)


def test_results_that_fail(tmp_path):
    """A mapping that overcommit refuses reports ENOMEM; the process goes on without it."""
    lines = lines_of(
        tmp_path,
        "sysctl vm.overcommit_memory=2\n"
        "memhog name:P mmap:a:64G touchw:a cpu:9 mmap:b:1M touchw:b\n",
    )

    assert ("-1", "12") == step(lines, "mmap:a:64G", "ret", "errno")
    assert ("-1", "22") == step(lines, "touchw:a", "ret", "errno")
    assert ("-1", "22") == step(lines, "cpu:9", "ret", "errno")
    assert ("0", "256") == step(lines, "touchw:b", "ret", "minflt")


def test_resident_sizes_lag_by_up_to_65_faults(tmp_path):
    """What status shows is added every 66th fault; unmapping adds all."""
    lines = lines_of(tmp_path, "memhog name:P mmap:a:4M mem touchw:a mem mmap:b:1M munmap:b mem\n")
    mem = [
        dict(re.findall(r"(\S+)=(\d+)", line)) for line in lines if line.startswith("proc=P mem")
    ]

    assert ["4", "0", "57"] == [mem[0][k] for k in ("VmRSS_kB", "RssFile_kB", "minflt_total")]
    exact = int(mem[2]["RssAnon_kB"])
    assert 4096 <= exact <= 4096 + 80
    assert 0 < exact - int(mem[1]["RssAnon_kB"]) <= 66 * 4
    assert "760" == mem[2]["RssFile_kB"]


def test_processes_meet_and_are_killed(tmp_path):
    """One in the background waits for a file, holds, and is killed; wait returns."""
    lines = lines_of(
        tmp_path,
        "memhog name:B wait:/run/go mmap:a:1M touchw:a mkfile:/run/done hold &\n"
        "memhog name:A sleep:50 mkfile:/run/go wait:/run/done mmap:a:1M\n"
        "kill B\nwait\nsleep 0.5\nsnap end\n",
    )
    ops = [line.split()[2] for line in lines if " op=" in line]

    assert ["op=mmap:a:1M", "op=touchw:a", "op=mmap:a:1M"] == ops
    assert "[snapshot end]" in lines


def test_counters_since_a_point(tmp_path):
    """A vmd step prints what changed since vm0 in the order of /proc/vmstat, then starts afresh."""
    lines = lines_of(
        tmp_path, "memhog name:P vm0 mmap:a:8M touchw:a vmd:first touchw:a vmd:second\n"
    )
    first = dict(re.findall(r"vmdelta label=first (\S+)=(-?\d+)", "\n".join(lines)))
    order = list(first)

    assert "2051" == first["pgfault"]
    assert order.index("nr_free_pages") < order.index("nr_anon_pages") < order.index("pgfault")
    assert not [line for line in lines if line.startswith("vmdelta label=second pgfault")]


def test_tunables_are_written_by_command_and_by_step(tmp_path):
    """By sysctl and by poke: the snapshot after them lists both, the marks follow."""
    out = tmp_path / "out"
    out.mkdir()
    run_case(
        case_of(
            tmp_path,
            "sysctl vm.swappiness=7\nmemhog poke:/proc/sys/vm/min_free_kbytes:4096\nsnap s\n",
        ),
        out,
    )
    listed = (out / "s" / "sysctl_vm.txt").read_text().splitlines()

    assert {"vm.swappiness = 7", "vm.min_free_kbytes = 4096"} <= set(listed)
    before, after = ((out / name / "zoneinfo").read_text() for name in ("before", "s"))
    assert re.findall(r"min +(\d+)", before) != re.findall(r"min +(\d+)", after)


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("snap a\nmemhog dents:3\n", "script.txt:2: step 'dents:3' needs 'dents'"),
        ("memhog wait:/x\n", "script.txt:1: step 'wait:/x' waits for a file that no step makes"),
        ("memhog poke:/proc/self/x:1\n", "script.txt:1: step 'poke:/proc/self/x:1' writes a file"),
        ("sysctl vm.swappiness=999\n", "script.txt:1: step 'sysctl vm.swappiness=999': "),
        ("sysctl vm.nonsense=1\n", "script.txt:1: step 'sysctl vm.nonsense=1' writes a file"),
        ("memhog touchw:a\n", "script.txt:1: step 'touchw:a': region 'a' must be made"),
    ],
)
def test_what_cannot_be_run_is_refused_before_the_run(tmp_path, script, told):
    """One line: file, line, step and what is missing; nothing is written."""
    with pytest.raises(WorkloadError) as caught:
        check_case(case_of(tmp_path, script))

    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_directories_that_are_no_case_are_refused(tmp_path):
    """Without a first snapshot there is nothing to build the machine from."""
    with pytest.raises(RecordingError, match="snapshot `before`"):
        check_case(tmp_path)


def test_the_same_seed_writes_the_same_bytes(tmp_path):
    """Two runs of a case are equal, file by file."""
    case = case_of(tmp_path, "memhog name:P mmap:a:8M touchw:a mem meminfo snap:s\n")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        run_case(case, tmp_path / name, seed=3)

    for path in files(tmp_path / "one"):
        assert (
            path.read_bytes()
            == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes()
        )


def test_supported_steps_are_steps():
    """Each name in the list of what can be run is a step of the grammar, a call or a program."""
    known = {*GRAMMAR, *CALLS.by_step, "memhogdyn"}
    assert {name.split(":")[0] for name in supported_steps()} <= known


@pytest.mark.parametrize("after", ["", " touchw:a mark:mend"], ids=["at-its-end", "on-the-way"])
def test_a_checked_run_finds_what_is_wrong(tmp_path, monkeypatch, after):
    """A lost page is found at the end, or before it is back; without checks nobody sees it."""
    case = case_of(tmp_path, f"memhog mmap:a:16M mmap:b:4M touchw:b mark:spoil{after}\n")
    shifts = {"spoil": -1, "mend": 1}

    async def spoil(process, step):
        process._state.machine._machine.mem.zone[0, Z_FREE] += shifts[step.args[0]]

    monkeypatch.setitem(STEPS, "mark", spoil)
    for name in ("unchecked", "checked"):
        (tmp_path / name).mkdir()
    run_case(case, tmp_path / "unchecked", burst_pages=1)
    with pytest.raises(InvariantViolation, match="pages are free, counted"):
        run_case(case, tmp_path / "checked", burst_pages=1, check=True)


def test_checks_change_nothing(tmp_path):
    """A run that is checked writes the same bytes as one that is not."""
    case = case_of(tmp_path, "memhog name:P mmap:a:8M touchw:a mem meminfo munmap:a snap:s\n")
    for name, check in (("one", False), ("two", True)):
        (tmp_path / name).mkdir()
        run_case(case, tmp_path / name, check=check)

    for path in files(tmp_path / "one"):
        assert (
            path.read_bytes()
            == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes()
        )


def test_timed_accesses_go_together_where_nothing_faults(tmp_path, monkeypatch):
    """300000 accesses of resident pages take few requests, and end when their time is over."""
    calls = []
    touch_pages = ProcessHandle.touch_pages

    async def counted(handle, vpns, writes):
        calls.append(len(vpns))
        return await touch_pages(handle, vpns, writes)

    monkeypatch.setattr(ProcessHandle, "touch_pages", counted)
    lines = lines_of(tmp_path, "memhog name:P mmap:a:1M touchw:a randtime:a:1:50:50\n")
    ms, accesses = step(lines, "randtime:a:1:50:50", "ms", "accesses")

    assert "50" == ms
    assert len(calls) < int(accesses) // 1000


@pytest.mark.parametrize("size", ["100", "4097"])
def test_random_pages_of_a_region_of_odd_size(tmp_path, size):
    """The bytes behind the last whole page are not drawn; a region below a page has one."""
    steps = "randw:a:1:10", "randr:a:1:10", "randtime:a:1:1:50"
    lines = lines_of(tmp_path, f"memhog name:P mmap:a:{size} {' '.join(steps)}\n")

    assert [("0", "1"), ("0", "0"), ("0", "0")] == [step(lines, s, "ret", "minflt") for s in steps]
