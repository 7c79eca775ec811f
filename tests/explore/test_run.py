"""Runs of plans: what happens in load and calm, and how failures are told apart."""

from functools import cache

import attrs
import pytest

from kernelsim.actors.file import write_inode
from kernelsim.cli import main as cli
from kernelsim.errors import ActorCrashedError, DeadlockError, InvariantViolation, LivelockError
from kernelsim.explore import run as run_module
from kernelsim.explore.draw import draw_plan
from kernelsim.explore.plan import Fault, Plan, plan_text
from kernelsim.explore.run import failure_of, run_plan

pytestmark = pytest.mark.mission("B3")

MACHINE = {
    "name": "m",
    "node": [{"cpus": "0-1", "memory": "16M"}],
    "device": [{"name": "vda"}],
    "swap": [{"size": "32M", "device": "vda"}],
}
STORES = "mapfile:s:/p:s touchw:s:0:212K:1:8K"
PRESSED = Plan(
    name="pressed",
    load_events=500_000,
    script=(
        "memhog name:a mmap:a:10M touchw:a touchr:a &",
        "memhog name:b mmap:a:10M touchw:a touchr:a &",
        "wait",
    ),
    machine=MACHINE,
)
# For what comes after the load, or does not come at all, whatever the load is.
QUICK = attrs.evolve(PRESSED, script=("memhog name:a mmap:a:1M touchw:a touchr:a &", "wait"))


@cache
def pressed():
    """Return the result of the plan as it stands, with which several tests compare others."""
    return run_plan(PRESSED)


@pytest.mark.slow
def test_random_runs_hold_every_invariant():
    """Drawn runs end in calm with all their memory back, and reach swap and OOM kills."""
    results = [run_plan(draw_plan(1, number)) for number in range(40)]
    assert [] == [result.failure.text for result in results if result.failure]
    assert {"done"} <= {result.state for result in results} <= {"done", "panic", "power cut"}
    reached = {name for result in results for name in result.counts}
    assert {"pswpout", "pswpin", "mm_vmscan_direct_reclaim_begin", "pgsteal_kswapd"} <= reached


def test_a_plan_has_one_result():
    """The same plan leaves the same bytes; another seed of the schedule leaves others."""
    first, again = pressed(), run_plan(PRESSED)
    assert first == again
    assert first.failure is None
    assert first.counts["pswpin"] > 0
    assert first.digest != run_plan(attrs.evolve(PRESSED, schedule_seed=5)).digest


def test_a_checker_that_listens_changes_nothing():
    """A machine that is observed leaves the same bytes, whenever it is looked at."""
    alone = run_plan(attrs.evolve(PRESSED, observe=False))
    assert alone.digest == pressed().digest
    assert alone.digest == run_plan(attrs.evolve(PRESSED, check_every=77)).digest


def test_pages_of_the_dead_in_a_folio_batch_are_held_by_who_empties_it():
    """They had their last reference there, and are free a moment after lru_lock was given back."""
    plan = Plan(
        name="folio_batch",
        seed=2024752097,
        burst_pages=64,
        check_every=100,
        load_events=625,
        script=(
            "memhog mallocw:h:168K free:h &",
            "memhog mmap:a:4K &",
            "memhog cpu:1 mallocw:h:16K &",
            "wait",
        ),
        machine={
            "name": "m",
            "arch": "i386pae",
            "node": [{"cpus": "0-1", "memory": "2M"}, {"cpus": "2-4", "memory": "3M"}],
        },
    )
    assert run_plan(plan).failure is None


LOGGED = Plan(
    name="logged",
    load_events=500_000,
    check_every=500_000,
    script=("memhog name:a writef:/p:40K:4K:fsync writef:/q:24K:8K:fsync &", "wait"),
    machine={**MACHINE, "device": [{"name": "vda", "bandwidth": "4M", "write_latency": "1ms"}]},
)


def cut_at(event):
    """Return a run in which the power fails at an event."""
    fault = (Fault(kind="power-cut", target="machine", event=event),)
    return run_plan(attrs.evolve(LOGGED, fault=fault))


def test_a_power_cut_loses_nothing_acknowledged():
    """Disks have what fsync promised by any event; nothing is served after it, no calm comes."""
    whole = run_plan(LOGGED)
    assert whole.failure is None
    results = [cut_at(event) for event in range(0, whole.nr_events, 7)]
    cut = [result for result in results if result.state == "power cut"]
    assert not [result.failure.text for result in results if result.failure]
    assert len(cut) > 20
    kept = {result.counts.get("pages that fsync had acknowledged", 0) for result in cut}
    assert {0, 10} <= kept <= {0, 10, 16}


def test_a_power_cut_finds_an_fsync_that_does_not_wait(monkeypatch):
    """It returns while the disk still works; where power fails then, a page is not there."""

    async def no_wait(*_given):
        """Be done at once."""

    monkeypatch.setattr(write_inode, "filemap_fdatawait_range", no_wait)
    nr_events = run_plan(LOGGED).nr_events
    found = [cut_at(event).failure for event in range(0, nr_events, 3)]
    assert any(failure and "was acknowledged" in failure.text for failure in found)


def test_a_task_in_swapoff_that_was_taken_already_is_no_victim_again():
    """The OOM killer passes by one that was reaped while it waits for the disk, as Linux does."""
    slow = [
        Fault(kind="slow-disk", target="vda", event=331, by_ns=20_000_000, for_ns=500_000_000),
        Fault(kind="slow-disk", target="vda", event=521, by_ns=2_000_000_000, for_ns=100_000_000),
    ]
    plan = Plan(
        name="swapoff",
        seed=1201215048,
        check_every=100,
        script=(
            "memhog sleep:1 swapoff:/dev/vda &",
            "memhog mmap:a:52K mmap:b:220K touchw:a touchw:b &",
            "wait",
        ),
        fault=tuple(slow),
        machine={
            "name": "m",
            "node": [{"cpus": "0-0", "start": "1M", "memory": "1192K"}],
            "device": [{"name": "vda"}],
            "swap": [{"size": "4096K", "device": "vda"}],
            "files": [{"path": "/p", "size": "4096K", "device": "vda"}],
        },
    )
    result = run_plan(plan)
    assert result.failure is None
    assert result.counts["oom_kill"] == 2


def test_a_read_comes_after_the_stores_of_a_cpu_that_goes_by_itself():
    """What a read brings is compared when the checker has heard of all stores to the file."""
    plan = Plan(
        name="a read beside stores",
        seed=294202926,
        check_every=100,
        load_events=312,
        script=(
            "sleep 0.001",
            "memhog mapfile:s:/q:s randw:s:232:7 randw:s:879:3 &",
            "memhog &",
            "memhog readsteps:/q:4K:1:4K readf:/q:16K:20K &",
            "sleep 0.1",
        ),
        machine={
            "name": "drawn",
            "node": [{"cpus": "0-1", "memory": "1792K"}],
            "device": [{"name": "vda"}],
            "files": [
                {"path": "/p", "size": "40K", "device": "vda"},
                {"path": "/q", "size": "41K", "device": "vda"},
                {"path": "/r", "size": "4096K", "device": "vda"},
            ],
        },
    )
    assert run_plan(plan).failure is None


def test_stores_of_two_processes_to_one_page_are_told_in_their_order():
    """One stores in a burst, the other in a fault: a read brings what was stored last."""
    plan = Plan(
        name="two who store to a page",
        seed=1568116670,
        check_every=3000,
        load_events=1250,
        script=(
            f"memhog truncate:/p:180K {STORES} truncate:/p:220K mapfile:t:/p:s touchw:t &",
            "memhog mapfile:s:/p:s randw:s:783:62 &",
            "memhog readf:/p:4K readf:/p:4K:100K &",
            "wait",
        ),
        machine={
            "name": "drawn",
            "node": [{"cpus": "0-2", "memory": "1536K"}, {"cpus": "3-4", "memory": "2M"}],
            "device": [{"name": "vda"}, {"name": "vdd"}],
            "files": [
                {"path": "/p", "size": "1638K", "device": "vda"},
                {"path": "/q", "size": "1638K", "device": "vdd"},
            ],
        },
    )
    assert run_plan(plan).failure is None


def test_load_ends_by_killing_what_still_lives():
    """After the steps of the load all processes are killed, and calm follows."""
    holds = attrs.evolve(PRESSED, script=("memhog mmap:a:1M touchw:a hold &", "wait"))
    endless = attrs.evolve(PRESSED, script=(f"memhog mmap:a:12M touchw:a:0:12M:{10**6}",))
    result = run_plan(attrs.evolve(endless, load_events=500))
    assert result.failure is None
    assert result.counts["ended by 9"] == 1
    assert run_plan(attrs.evolve(holds, load_events=60)).failure is None
    stuck = run_plan(holds).failure  # nothing comes to pass any more, so no step ends the load
    assert stuck is not None
    assert stuck.kind == "deadlock"


@pytest.mark.parametrize(
    "fault",
    [
        Fault(kind="slow-disk", target="vda", event=100, by_ns=10**9, for_ns=10**8),
        Fault(kind="late-cpu", target="0", event=100, by_ns=10**7),
        Fault(kind="kill", target="b", event=8000),
    ],
)
def test_a_fault_changes_the_run(fault):
    """Each kind of fault has an effect, breaks no invariant, and repeats to the byte."""
    first, again = (run_plan(attrs.evolve(PRESSED, fault=(fault,))) for _ in range(2))
    assert first == again
    assert first.failure is None
    assert first.digest != pressed().digest
    assert ("ended by 9" in first.counts) == (fault.kind == "kill")


@pytest.mark.parametrize("fault", [("vdz", "slow-disk"), ("9", "late-cpu"), ("nobody", "kill")])
def test_a_fault_without_its_target_is_none(fault):
    """What is not there cannot fail; so machines and scripts can be cut down below a fault."""
    target, kind = fault
    faults = (Fault(kind=kind, target=target, event=50, by_ns=10**6, for_ns=10**6),)
    result = run_plan(attrs.evolve(QUICK, fault=faults))
    assert result.failure is None
    assert result.nr_events > 50


@pytest.mark.parametrize(
    ("error", "kind", "sign"),
    [
        (InvariantViolation("2 hold\n  pfn 7 has 3\n  b-100 is"), "invariant", "pfn # has #"),
        (DeadlockError("a waits at 12\n  more"), "deadlock", "a waits at #"),
        (LivelockError("b"), "livelock", "b"),
        (ActorCrashedError("c at 7"), "exception", "ActorCrashedError: c at #"),
        (KeyError(5), "exception", "KeyError: #"),
    ],
)
def test_failures_have_a_class_and_a_sign(error, kind, sign):
    """The class follows from the error; the sign leaves out what differs from run to run."""
    failure = failure_of(error)
    assert (kind, sign) == (failure.kind, failure.signs[0])
    assert failure.is_like(failure_of(error))
    assert not failure.is_like(failure_of(LivelockError("other")))
    assert not failure.is_like(None)


def test_memory_that_does_not_come_back_is_a_failure(monkeypatch):
    """Calm asks that every page is back."""
    monkeypatch.setattr(run_module, "losses", lambda *_: ["zone 1 has less"])
    failure = run_plan(QUICK).failure
    assert failure is not None
    assert ("invariant", ("zone # has less",)) == (failure.kind, failure.signs)


def test_unrest_without_end_is_a_failure(monkeypatch):
    """A machine that does not come to rest in a minute of virtual time is a livelock."""
    monkeypatch.setattr(run_module, "unrest", lambda *_: iter(["kswapd0 does not sleep"]))
    failure = run_plan(QUICK).failure
    assert failure is not None
    assert ("livelock", True) == (failure.kind, "kswapd0 does not sleep" in failure.text)


def test_replay_prints_the_draws_and_how_it_went(tmp_path, capsys):
    """`kernelsim replay` shows the plan first, then the end of the run, and compares digests."""
    path = tmp_path / "p.toml"
    digest = run_plan(QUICK).digest
    path.write_text(plan_text(attrs.evolve(QUICK, seen_kind="deadlock", seen_digest=digest)))
    assert cli.exit_status(["replay", str(path)]) == cli.EXIT_DONE
    out = capsys.readouterr().out
    assert out.startswith('format = 1\nname = "pressed"\n')
    assert f"digest {digest}\nthe same as when it was written down, to the byte\n" in out
    path.write_text(plan_text(attrs.evolve(QUICK, seen_kind="deadlock", seen_digest="00")))
    assert cli.exit_status(["replay", str(path)]) == cli.EXIT_DONE
    assert capsys.readouterr().out.endswith("written down: deadlock, digest 00\n")


def test_a_replay_that_fails_ends_with_status_3(tmp_path, capsys, monkeypatch):
    """The report has the class, what does not hold, the last events and the command."""
    monkeypatch.setattr(run_module, "losses", lambda *_: ["zone 1 has less"])
    path = tmp_path / "p.toml"
    path.write_text(plan_text(QUICK))
    assert cli.exit_status(["replay", str(path)]) == cli.EXIT_OUR_BUG
    err = capsys.readouterr().err
    assert err.startswith("invariant: not all is back in the calm:\n  zone 1 has less\n")
    assert err.endswith(f"replay: kernelsim replay {path}\n")
    assert cli.exit_status(["replay", str(tmp_path / "none.toml")]) == cli.EXIT_WRONG_USE


@pytest.mark.mission("P5")
def test_memory_goes_online_and_offline_while_processes_use_it():
    """DIMMs come and leave; users' pages are moved, and all memory is back in the calm."""
    state = "/sys/devices/system/memory/memory32/state"
    plan = Plan(
        name="hotplug",
        check_every=2000,
        load_events=20_000,
        script=(
            "host object_add memory-backend-ram,id=m0,size=128M",
            "host device_add pc-dimm,id=d0,memdev=m0,node=0",
            f"memhog name:first poke:{state}:online_movable",
            "memhog name:user mmap:a:2M touchw:a touchr:a sleep:1 touchw:a sleep:5 touchr:a &",
            f"memhog poke:{state}:offline poke:{state}:online_movable &",
            "sleep 0.003",
            "host device_del d0",
            "wait",
        ),
        machine={"name": "m", "maxmem": "136M", "node": [{"cpus": "0-1", "memory": "8M"}]},
    )
    result = run_plan(plan)
    assert result.failure is None
    assert result.counts["pgmigrate_success"] > 500


def test_blocks_and_packets_of_the_kernel_are_given_back_in_the_calm():
    """Also when who asked for them was killed; some are not to be had."""
    plan = Plan(
        name="kernel",
        load_events=20_000,
        script=(
            "memhog name:a mmap:a:1M touchw:a kblock:4:9 kfree:1 kblock:8:2 hold &",
            "memhog name:b netrx:600:1 sleep:1 netrx:20:5 poke:/proc/sys/vm/compact_memory:1 &",
            "sleep 0.01",
            "kill a",
            "wait",
        ),
        machine={"name": "m", "node": [{"cpus": "0-1", "memory": "4M"}]},
    )
    result = run_plan(plan)
    assert result.failure is None
    assert result.counts["blocks of the kernel"] > 4
    assert result.counts["packets are dropped"] > 0
