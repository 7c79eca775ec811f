"""Plans: files that hold a whole run, drawn from one seed."""

import attrs
import pytest

from kernelsim.errors import ConfigError, WorkloadError
from kernelsim.explore.draw import WANTED_KINDS, draw_plan
from kernelsim.explore.draw_hotplug import HOTPLUGGER
from kernelsim.explore.draw_mix import FORKER, KINDS
from kernelsim.explore.draw_more import MORE_KINDS
from kernelsim.explore.plan import FAULT_KINDS, Fault, Plan, plan_text, read_plan
from kernelsim.workload.script.host import check_host

pytestmark = pytest.mark.mission("B3")

MACHINE = {"name": "m", "node": [{"cpus": "0", "memory": "16M"}]}
DRAWN = [draw_plan(7, run) for run in range(150)]


def test_a_plan_is_read_as_it_was_written(tmp_path):
    """Each drawn plan comes back the same from its file."""
    for number, plan in enumerate(DRAWN[:40]):
        path = tmp_path / f"{number}.toml"
        path.write_text(plan_text(attrs.evolve(plan, seen_kind="deadlock", seen_digest="ab")))
        back = read_plan(path)
        assert plan == attrs.evolve(back, seen_kind="", seen_digest="", machine=plan.machine)
        assert plan.spec() == back.spec()


def test_the_same_two_numbers_draw_the_same_plan():
    """A plan is a function of the campaign's seed and the run's number, and of nothing else."""
    assert DRAWN == [draw_plan(7, run) for run in range(150)]
    assert draw_plan(7, 1) != draw_plan(8, 1)


def test_every_kind_and_fault_is_drawn():
    """Some runs have each kind of process and of fault, on quite different machines."""
    names = {process.name.rstrip("0123456789") for plan in DRAWN for process in plan.processes}
    assert {*KINDS, FORKER, HOTPLUGGER, *MORE_KINDS} == names
    forks = {step.op for plan in DRAWN for process in plan.processes for step in process.steps}
    assert {"forkcow", "clonevm", "vforkw"} <= forks
    assert set(FAULT_KINDS) == {fault.kind for plan in DRAWN for fault in plan.fault}
    specs = [plan.spec() for plan in DRAWN]
    assert {"x86_64", "i386", "i386pae"} == {spec.arch for spec in specs}
    assert {1, 2, 3, 4} == {len(spec.nodes) for spec in specs}
    assert {0, 1, 2, 3} == {len(spec.swaps) for spec in specs}
    assert any(not node.cpus for spec in specs for node in spec.nodes)
    assert any(zone.hole_pages for spec in specs for node in spec.nodes for zone in node.zones)
    assert any(plan.schedule_seed is None for plan in DRAWN)


def test_a_kind_that_is_asked_for_is_there_and_changes_no_other_draw():
    """Each has a stream of its own: lines of other kinds, machine and seeds stay."""
    for run, plain in enumerate(DRAWN[:20]):
        wanted = set(WANTED_KINDS) - {HOTPLUGGER}
        plan = draw_plan(7, run, wanted)
        assert wanted <= {process.name for process in plan.processes}
        assert set(plain.script) <= set(plan.script)
        assert (plain.machine, plain.seed) == (plan.machine, plan.seed)
        assert set(plain.fault) <= set(plan.fault)


def test_where_memory_comes_and_goes_there_are_slots_for_it():
    """A run with a hotplugger has DIMMs; its script is one that could be run by itself."""
    plan = draw_plan(7, 3, wanted=(HOTPLUGGER,))
    assert plan.machine["arch"] == "x86_64"
    assert plan.spec().dimm_window[1] > plan.spec().dimm_window[0]
    assert any(line.startswith("host device_add") for line in plan.script)
    check_host(plan.parsed)
    assert plan.machine != draw_plan(7, 3).machine


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "format = None: must be 1"),
        ("format = 1", "machine = None: must be a table"),
        ('format = 1\n[machine]\nname = "m"', "name = None: the key is missing"),
    ],
)
def test_a_file_that_is_no_plan_is_refused(tmp_path, text, words):
    """The mistake is told in one line with the file's name."""
    path = tmp_path / "p.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words) as refusal:
        read_plan(path)
    assert str(refusal.value).startswith(str(path))


def test_mistakes_in_its_parts_are_told(tmp_path):
    """A wrong step names its line; a wrong fault and a wrong machine their key."""
    path = tmp_path / "p.toml"
    plan = Plan(name="x", script=("memhog mmap:a:1M", "memhog fly:a"), machine=MACHINE)
    path.write_text(plan_text(plan))
    with pytest.raises(WorkloadError, match=r"p\.toml:2: step 'fly:a'"):
        read_plan(path)
    path.write_text(plan_text(attrs.evolve(plan, script=("wait",))).replace("16M", "16Q"))
    with pytest.raises(ConfigError, match=r"p\.toml: node\[0\]\.memory = '16Q'"):
        read_plan(path)
    with pytest.raises(ConfigError, match=r"fault\.kind = 'flood'"):
        Fault(kind="flood", target="a", event=1)
    with pytest.raises(ConfigError, match=r"fault\.event = -1"):
        Fault(kind="kill", target="a", event=-1)
