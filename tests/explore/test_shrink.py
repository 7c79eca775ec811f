"""Cutting down: what is tried, and that a small plan that still fails is left."""

import attrs
import pytest

from kernelsim.errors import ConfigError
from kernelsim.explore.draw import draw_plan
from kernelsim.explore.plan import Fault, Plan
from kernelsim.explore.run import Failure, Result
from kernelsim.explore.shrink import pieces, shrink
from kernelsim.explore.shrink_text import (
    smaller_lines,
    smaller_machines,
    smaller_steps,
    with_less_memory,
)
from kernelsim.units import parse_size

pytestmark = pytest.mark.mission("B3")

FAILURE = Failure("deadlock", "stuck", ("stuck",))


def result_of(failure):
    """Return the result of a made-up run."""
    return Result(
        failure=failure, digest="", state="", nr_events=9, virtual_ns=0, counts={}, last_events=()
    )


def test_large_pieces_go_first():
    """All, then each half, then each item is left out."""
    assert [(), ("c", "d"), ("a", "b"), ("b", "c", "d")] == list(pieces(tuple("abcd")))[:4]
    assert [] == list(pieces(()))


def test_steps_go_with_the_regions_they_need():
    """A line without the step that maps has no step on that region either."""
    lines = list(smaller_lines("memhog name:x mmap:a:8K touchw:a munmap:a mmap:b:4K &"))
    assert "memhog mmap:b:4K &" in lines
    assert "memhog name:x mmap:a:8K touchw:a mmap:b:4K &" in lines
    assert "memhog name:x mmap:a:4K touchw:a munmap:a mmap:b:4K &" in lines
    mapped = list(smaller_lines("memhog mapfile:f:/x:s mlock:f msync:f randr:f:1:9 fsync:/x &"))
    assert "memhog fsync:/x &" in mapped
    parts = list(smaller_lines("memhog mmap:a:8K part:p:a:4K:4K mprotect:p:1 sleep:1 &"))
    assert "memhog sleep:1 &" in parts
    assert "memhog part:p:a:4K:4K mprotect:p:1 sleep:1 &" not in parts
    assert [] == list(smaller_lines("sleep 1"))


def test_numbers_are_halved():
    """Sizes stay whole pages; names, tunables and CPUs stay."""
    assert ["touchw:a:0:8K", "touchw:a:0:4K:6", "touchw:a:0:8K:3"] == list(
        smaller_steps("touchw:a:0:8K:6")
    )
    assert ["grow:12K:3M", "grow:24K:1M"] == list(smaller_steps("grow:24K:3M"))
    assert [] == list(smaller_steps("cpu:8"))
    assert [] == list(smaller_steps("poke:/proc/sys/vm/swappiness:100"))


def test_machines_lose_parts():
    """What is left is renumbered so that it is a machine again."""
    table = {
        "name": "m",
        "distances": [[10, 20], [20, 10]],
        "node": [{"cpus": "0-3", "memory": "8M"}, {"cpus": "4-5", "start": "64M", "memory": "4M"}],
        "device": [{"name": "vda", "kind": "hdd"}, {"name": "vdb"}],
        "swap": [{"size": "1M", "device": "vda"}, {"size": "1M", "device": "vdb"}],
    }
    smaller = list(smaller_machines(table))
    nodes = [machine["node"] for machine in smaller]
    assert [{"cpus": "0-1", "start": "64M", "memory": "4M"}] in nodes
    assert [{"cpus": "0-1", "memory": "8M"}, table["node"][1]] in nodes
    assert [table["node"][0], {"cpus": "4-5", "memory": "4M"}] in nodes
    assert [{"cpus": "0-3", "memory": "4M"}, table["node"][1]] in nodes
    assert any("swap" not in machine for machine in smaller)
    assert any(machine.get("swap") == table["swap"][1:] for machine in smaller)
    assert table["node"][0] == {"cpus": "0-3", "memory": "8M"}


def test_memory_goes_with_a_process():
    """An eighth, a quarter, half of one node after the other; the table itself stays."""
    table = {"node": [{"cpus": "0", "memory": "4M"}, {"cpus": "1", "memory": "16K"}]}
    assert [[node["memory"] for node in less["node"]] for less in with_less_memory(table)] == [
        ["3584K", "16K"],
        ["3072K", "16K"],
        ["2048K", "16K"],
        ["4M", "12K"],
        ["4M", "8K"],
    ]
    assert table["node"][0]["memory"] == "4M"


def test_what_is_short_of_memory_stays_short_of_it():
    """A failure that needs a full machine is cut down to fewer processes on a smaller one."""
    plan = Plan(
        name="p",
        script=tuple(f"memhog name:{name} mmap:a:1M touchw:a &" for name in "abcd"),
        machine={"node": [{"cpus": "0", "memory": "4M"}]},
    )

    def run(plan):
        is_full = (
            len(plan.processes) * 1024 >= parse_size(plan.machine["node"][0]["memory"]) // 1024
        )
        return result_of(FAILURE if is_full else None)

    small = shrink(plan, result_of(FAILURE), run)
    assert len(small.plan.processes) == 1


def test_only_what_fails_alike_is_kept():
    """A cut that fails for another reason, or makes no plan, is taken back."""
    plan = Plan(
        name="p",
        script=("memhog name:a mmap:a:64K touchw:a &", "memhog name:b mmap:a:64K &", "wait"),
        fault=(Fault(kind="kill", target="a", event=7), Fault(kind="kill", target="b", event=3)),
        machine=draw_plan(1, 1).machine,
    )

    def run(plan):
        steps = [step.text for process in plan.processes for step in process.steps]
        if not plan.fault:
            raise ConfigError("fault", None, "cut too far")
        if "touchw:a" not in steps:
            return result_of(attrs.evolve(FAILURE, kind="livelock"))
        has_fault = any(fault.target == "b" for fault in plan.fault)
        return result_of(FAILURE if has_fault else None)

    small = shrink(plan, result_of(FAILURE), run)
    assert ("memhog mmap:a:4K touchw:a &",) == small.plan.script
    assert [("b", 3)] == [(fault.target, fault.event) for fault in small.plan.fault]
    assert small.result.failure == FAILURE
    assert len(small.plan.machine["node"]) == 1


def test_runs_are_limited():
    """Cutting down stops after so many runs with what it has."""
    plan = draw_plan(1, 1)
    small = shrink(plan, result_of(FAILURE), lambda _: result_of(FAILURE), runs_max=5)
    assert small.nr_runs == 5


def test_another_schedule_is_tried_where_a_line_goes():
    """A race that a cut hides is looked for in a few other orders of events."""
    plan = Plan(name="p", script=("wait", "wait"), machine=draw_plan(1, 1).machine)

    def run(plan):
        is_hidden = len(plan.script) < 2 and plan.schedule_seed != 2
        return result_of(None if is_hidden else FAILURE)

    small = shrink(plan, result_of(FAILURE), run)
    assert ((), 2) == (small.plan.script, small.plan.schedule_seed)
