"""Batches of reclaim and windows of swap in compiled code: the same outcome, fewer messages."""

from collections import Counter

import attrs
import pytest

from kernelsim.actors.parts.node import Node
from kernelsim.config.disks import BlockDeviceSpec, SwapSpec
from tests.small_machine import run, small_machine

SPREAD = {"cache_line_spread_permille": 1000}
STEPS = ("IsolateLru", "PutbackInactive", "BeginSwapRead")


def two_disks(spec):
    """Return the machine with its swap on two disks, of which one takes short requests only."""
    short = BlockDeviceSpec(name="vdb", max_segments=4)
    swaps = tuple(
        SwapSpec(name=f"/dev/{name}", size_bytes=16 << 20, device=name, prio=5)
        for name in ("vda", "vdb")
    )
    return attrs.evolve(spec, devices=(*spec.devices, short), swaps=swaps)


def outcome(monkeypatch, spec, nr_processes, burst_pages):
    """Let processes that do not fit write and read; return what is left, and messages by kind."""
    heard = Counter()
    receive = Node.receive

    def hearing(node, message):
        heard[type(message).__name__] += 1
        return receive(node, message)

    async def main(machine):
        async def program(process):
            region = await process.mmap("20M")
            await process.touch(region, write=True)
            await process.touch(region)

        processes = [await machine.spawn(f"p{i}", program) for i in range(nr_processes)]
        for process in processes:
            await process.wait()
        return machine.vmstat, [process.stats for process in processes], machine.now_ns

    monkeypatch.setattr(Node, "receive", hearing)
    done = run(spec, main, burst_pages=burst_pages, sound=False)
    monkeypatch.undo()
    # A fault's own event is one a burst or one a page; of one instant they come in any order.
    log = sorted(map(str, (event for event in done.log.events if event.event != "ks_fault")))
    return (done.result, log), heard


@pytest.mark.parametrize(
    ("machine", "nr_processes", "share"),
    [("one disk", 1, 5), ("one disk", 2, 5), ("two disks", 1, 5), ("two CPUs", 2, 1.8)],
)
def test_most_steps_of_reclaim_take_no_message(monkeypatch, machine, nr_processes, share):
    """Counters, statistics, the log and the end are those of a message a step.

    Where CPUs meet, more steps are left to messages: how many is a matter of the schedule, 1 in 1.7
    to 2.3 at sizes of memory some KiB apart.
    """
    cpus = ("0-1",) if machine == "two CPUs" else ("0",)
    spec = small_machine(cpus=cpus, memory="16M", swap="64M", latency=SPREAD)
    if machine == "two disks":
        spec = two_disks(spec)
    by_messages, all_heard = outcome(monkeypatch, spec, nr_processes, 1)
    by_bursts, heard = outcome(monkeypatch, spec, nr_processes, 512)
    assert by_messages == by_bursts
    for step in STEPS:
        assert heard[step] * share < all_heard[step], step
