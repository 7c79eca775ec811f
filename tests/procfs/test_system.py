"""Behaviour of node lists, uptime and stat beyond the golden files."""

from kernelsim.procfs.snapshot import (
    CpuSnapshot,
    NodeSnapshot,
    ProcessSnapshot,
    Snapshot,
    ZoneSnapshot,
)
from kernelsim.procfs.system import node_states, render_pressure, render_stat, render_uptime
from kernelsim.sched.psi import FIXED_1, Pressure

NORMAL = ZoneSnapshot(name="Normal", present=8)
MOVABLE = ZoneSnapshot(name="Movable", present=8)


def test_node_states_tell_kinds_of_nodes_apart():
    """A node of movable memory has memory but no normal memory; one without CPUs has none."""
    nodes = (
        NodeSnapshot(nid=0, zones=(NORMAL,), cpus=(0, 1)),
        NodeSnapshot(nid=1, zones=(MOVABLE,)),
        NodeSnapshot(nid=2, zones=(NORMAL,), cpus=(2,)),
    )

    assert node_states(Snapshot(nodes=nodes, possible_nodes=(0, 1, 2, 3))) == {
        "has_normal_memory": "0,2",
        "has_memory": "0-2",
        "has_cpu": "0,2",
        "possible": "0-3",
        "online": "0-2",
    }


def test_uptime_is_virtual_seconds_rounded_down():
    """Uptime and idle time are seconds with two decimals, as sar wants them."""
    snapshot = Snapshot(nodes=(), uptime_ns=12_349_999_999, idle_ns=70_000_000)

    assert "12.34 0.07\n" == render_uptime(snapshot)


def test_stat_counts_ticks_by_cpu():
    """Each CPU has a line of ticks of 10 ms, the first line is their sum."""
    cpus = (
        CpuSnapshot(cpu=0, user_ns=1_000_000_000, idle_ns=50_000_000),
        CpuSnapshot(cpu=1, system_ns=30_000_000, iowait_ns=19_999_999),
    )
    throttled = ProcessSnapshot(pid=7, comm="db", state="D")
    snapshot = Snapshot(nodes=(), cpus=cpus, processes=(throttled,) * 2, nr_iowait=1)
    lines = render_stat(snapshot).splitlines()

    assert lines[:3] == [
        "cpu  100 0 3 5 1 0 0 0 0 0",
        "cpu0 100 0 0 5 0 0 0 0 0 0",
        "cpu1 0 0 3 0 1 0 0 0 0 0",
    ]
    assert "procs_blocked 1" in lines


def test_stat_without_cpus_is_all_zero():
    """A machine that says nothing of its CPUs still has a sum line."""
    assert render_stat(Snapshot(nodes=())).startswith("cpu  0 0 0 0 0 0 0 0 0 0\n")


def test_pressure_has_percent_with_two_decimals_rounded_down():
    """Averages are fixed point of 11 bits, the total is printed in microseconds."""
    some = Pressure((FIXED_1 // 2, 12 * FIXED_1 + 1023, 100 * FIXED_1), 1_234_567)
    full = Pressure((0, 20, 21), 999)
    assert render_pressure({"some": some, "full": full}) == (
        "some avg10=0.50 avg60=12.49 avg300=100.00 total=1234\n"
        "full avg10=0.00 avg60=0.00 avg300=0.01 total=0\n"
    )
