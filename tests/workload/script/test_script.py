"""The grammar of portable scripts: what is read, what is refused, what is not simulated."""

from pathlib import Path

import pytest

from kernelsim.errors import WorkloadError
from kernelsim.workload.script.script import (
    Host,
    Kill,
    Memhog,
    Sleep,
    Snap,
    Sysctl,
    Wait,
    parse_script,
    read_script,
    refuse_unsupported,
    unsupported_steps,
)
from kernelsim.workload.script.script_steps import GRAMMAR, Step

CASES = Path(__file__).parents[2] / "oracle" / "cases"
KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

# A step of every op, as the recordings write them.
EVERY_STEP = (
    "name:A adj:-1000 uid:1000 cpu:1 malloc:a:1 mallocw:b:64M free:b mtrim sbrk:-4K brkinfo "
    "mcycle:64K:5 mallocloop:1G:127T:2048 probe:1500M mmap:c:64M mmapshared:d:64M mmapnr:e:4G "
    "munmap:e part:p:c:8K:4K mlock:c munlock:c stack:s:64K swapon:/dev/vdb:5 swapoff:/dev/vdb "
    "truncate:/mnt/x:1M msync:c madvise:c:dontneed touchw:c:4K:1020K:1:8K touchr:d randw:c:7:100 "
    "randr:c:7:100 randtime:c:11:20000:50 fillrand:c:3 grow:1M:2G growsnap:8M:1100M spreadpt:60000 "
    "dents:10 setpol:interleave:01 mbind:c:bind:1 where:c wherehead:c:16 churn:libumem:3:9:64K "
    "movepages:c:1:100 forkcow:c:8M:r clonevm:c:8M vforkw:c:8M "
    "readf:/mnt/big1g:64K:200M readsteps:/mnt/cold16:4K:10:1M "
    "cached:/mnt/cold16:v dontneed:/mnt/cold16 drop writef:/mnt/out:20M:64K:fsync fsync:/mnt/out "
    "mapfile:f:/mnt/cold16:s sample:100:900:/run/stop maps smaps rollup status statm numa_maps "
    "oom_score mem meminfo numastat cat:/proc/stat vm0 vmd:x snap:x mark:x poke:/sys/a:online "
    "mkfile:/run/A wait:/run/A sleep:300 pool:c:3:9 kblock:4:2:atomic kfree:1 netrx:9:10 hold"
)


def steps_of(text):
    """Parse the steps of one process."""
    (command,) = parse_script(f"memhog {text}").commands
    return command.steps


@pytest.mark.parametrize("path", sorted(CASES.glob("*/script.txt")), ids=lambda p: p.parent.name)
def test_recorded_scripts_are_read(path):
    """Every recorded script is read, line by line."""
    script = read_script(path)

    assert path.read_text().splitlines() == [command.text for command in script.commands]


def test_every_op_is_read():
    """A step of every op of the grammar is read, with as many arguments as the grammar names."""
    steps = steps_of(EVERY_STEP)

    assert set(GRAMMAR) == {step.op for step in steps}
    assert EVERY_STEP.split() == [step.text for step in steps]
    assert all(len(GRAMMAR[step.op].split()) == len(step.args) for step in steps)


def test_arguments_are_typed():
    """Sizes are bytes, times nanoseconds, nodes tuples; what is left out is None."""
    steps = {step.op: step for step in steps_of(EVERY_STEP)}

    assert ("c", 4 * KIB, 1020 * KIB, 1, 8 * KIB) == steps["touchw"].args
    assert ("d", None, None, None, None) == steps["touchr"].args
    assert ("c", 11, 20_000_000_000, 50) == steps["randtime"].args
    assert ("interleave", (0, 1)) == steps["setpol"].args
    assert (-4 * KIB,) == steps["sbrk"].args
    assert (-1000,) == steps["adj"].args
    assert ("f", "/mnt/cold16", "s") == steps["mapfile"].args
    assert ("f", "/mnt/cold16", "w") == steps_of("mapfile:f:/mnt/cold16:w")[0].args
    assert "madvise:willneed" == steps_of("mmap:c:4K madvise:c:willneed")[1].need
    assert (GIB, 127 << 40, 2048) == steps["mallocloop"].args
    assert "madvise:dontneed" == steps["madvise"].need
    assert "touchw" == steps["touchw"].need


@pytest.mark.parametrize(("text", "nodes"), [("1", (1,)), ("023", (0, 2, 3)), ("0,12", (0, 12))])
def test_nodes_are_digits_or_a_list(text, nodes):
    """Nodes without commas are one digit each."""
    assert nodes == steps_of(f"setpol:bind:{text}")[0].args[1]


def test_commands_are_typed():
    """Each kind of line is its own kind of value and keeps its line number and text."""
    script = parse_script(
        "# a comment\n\n"
        "sysctl vm.lowmem_reserve_ratio=256 256 32 0 0\n"
        "memhog name:A hold &\n"
        "memhogdyn malloc:a:1\n"
        "snap held\n"
        "sleep 1.25\n"
        "kill A\n"
        "host device_del dimm1\n"
        "wait\n"
    )

    assert (
        Sysctl(
            3,
            "sysctl vm.lowmem_reserve_ratio=256 256 32 0 0",
            "vm.lowmem_reserve_ratio",
            "256 256 32 0 0",
        ),
        Memhog(
            4,
            "memhog name:A hold &",
            (Step("name", ("A",), "name:A"), Step("hold", (), "hold")),
            background=True,
            dynamic=False,
        ),
        Memhog(
            5,
            "memhogdyn malloc:a:1",
            (Step("malloc", ("a", 1), "malloc:a:1"),),
            background=False,
            dynamic=True,
        ),
        Snap(6, "snap held", "held"),
        Sleep(7, "sleep 1.25", 1_250_000_000),
        Kill(8, "kill A", "A"),
        Host(9, "host device_del dimm1", ("device_del", "dimm1")),
        Wait(10, "wait"),
    ) == script.commands
    assert ["A", "memhog"] == [script.commands[1].name, script.commands[2].name]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("memhog touchx:a", "step 'touchx:a': 'touchx' is no step"),
        ("memhog mmap:a:1.5M", "step 'mmap:a:1.5M': '1.5M' must be a size in whole bytes"),
        ("memhog mmap:a:12Q", "step 'mmap:a:12Q': '12Q' must be a size"),
        ("memhog mmap:a:-4K", "'-4K' must be a size"),
        ("memhog mmap:a", "step 'mmap:a': takes mmap:new:size"),
        ("memhog mem:1", "step 'mem:1': takes mem"),
        ("memhog mmap:a:4K touchw:a:0:4K:1:0", "stride must be at least 1 byte"),
        ("memhog mmap:a:4K cached:/f:x", "'x' must be the word 'v'"),
        ("memhog mmap:a:4K wherehead:a:0", "'0' must be a whole number from 1"),
        ("memhog touchw:a", "step 'touchw:a': region 'a' must be made by a step before it"),
        ("memhog mmap:a:4K munmap:a touchw:a", "region 'a' must be made"),
        ("memhog free:a", "region 'a' must be made"),
        ("memhog mmap:1a:4K", "'1a' must be a region name"),
        ("memhog adj:1001", "'1001' must be a number in -1000..1000"),
        ("memhog mmap:a:4K randtime:a:1:5:101", "'101' must be a percentage"),
        ("memhog mmap:a:4K madvise:a:sometimes", "must be one of normal"),
        ("memhog setpol:weird:0", "must be one of default"),
        ("memhog setpol:bind:x", "'x' must be node numbers"),
        ("memhog readf:mnt:64K", "'mnt' must be a path from /"),
        ("memhog name:", "'' must be a word"),
        ("swapoff -a", "'swapoff' is no command (memhog, memhogdyn, snap"),
        ("snap", "'snap' must be written 'snap NAME'"),
        ("snap ../up", "'snap ../up' must be written 'snap NAME'"),
        ("sysctl vm.swappiness 60", "must be written 'sysctl KEY=VALUE'"),
        ("sleep soon", "must be written 'sleep SECONDS'"),
        ("wait A", "must be written 'wait'"),
        ("host", "must be written 'host WORD …'"),
        ("kill A", "no background process before it is named 'A'"),
    ],
)
def test_errors_name_file_line_step_and_rule(line, told):
    """A line that breaks a rule is refused in one line that begins with its place."""
    with pytest.raises(WorkloadError) as caught:
        parse_script(f"wait\n{line}\n", "my.txt")

    assert str(caught.value).startswith("my.txt:2: ")
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_only_background_processes_can_be_killed():
    """A process that runs in the foreground is over when the next line runs."""
    with pytest.raises(WorkloadError, match="background"):
        parse_script("memhog name:A mem\nkill A\n")


def test_unreadable_scripts_are_refused(tmp_path):
    """A missing file and one that is no text are refused with their name."""
    binary = tmp_path / "script.txt"
    binary.write_bytes(b"\xff\xfe\0")

    with pytest.raises(WorkloadError, match="must be readable"):
        read_script(tmp_path / "missing.txt")
    with pytest.raises(WorkloadError, match="must be text"):
        read_script(binary)


def test_unsupported_steps_are_listed_in_order():
    """What a runner lacks is listed by line; `op:word` supports an op in part."""
    script = parse_script(
        "memhog mmap:a:4K madvise:a:free madvise:a:cold\nmemhogdyn malloc:b:1\nhost object_add x\n"
    )
    supported = frozenset({"mmap", "madvise:free", "malloc"})

    assert [
        (1, "madvise:a:cold", "madvise:cold"),
        (2, "memhogdyn", "memhogdyn"),
        (3, "host object_add x", "host object_add"),
    ] == [(step.line, step.text, step.need) for step in unsupported_steps(script, supported)]
    assert [] == unsupported_steps(script, supported | {"madvise", "memhogdyn", "host"})


def test_refusal_is_one_line_with_the_first_step():
    """The refusal names file, line, step and need, and counts the others."""
    script = parse_script("memhog mmap:a:4K mlock:a munlock:a\n", "s.txt")

    with pytest.raises(WorkloadError) as caught:
        refuse_unsupported(script, frozenset({"mmap"}))
    assert (
        "s.txt:1: step 'mlock:a' needs 'mlock', which is not simulated (and 1 more such steps)"
        == str(caught.value)
    )
    refuse_unsupported(script, frozenset({"mmap", "mlock", "munlock"}))
