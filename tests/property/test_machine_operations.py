"""Whole small machines: several processes do random operations, every invariant and page checked.

The machine is looked at again and again while they run, compiled and in between two events, and
twice the same run must give the same end.
"""

from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernelsim.check.machine import require_sound
from kernelsim.check.record import observe
from kernelsim.errors import SyscallError, UserError
from kernelsim.procfs.capture import capture
from kernelsim.procfs.meminfo import meminfo_kb
from kernelsim.procfs.vmstat import vmstat_counters
from kernelsim.units import KIB, MIB
from tests.small_machine import OpenMachine, small_machine

pytestmark = [pytest.mark.mission("B3")]

CHECK_EVENTS: Final = 400
SIZE_MAX: Final = 6 * MIB
PAUSES: Final = ("0ns", "1us", "1ms", "200ms")
SETTINGS: Final = (
    ("vm.swappiness", (0, 1, 100, 200)),
    ("vm.min_free_kbytes", (0, 64, 2048)),
    ("vm.watermark_scale_factor", (1, 1000)),
    ("vm.page-cluster", (0, 3, 6)),
    ("vm.overcommit_memory", (0, 1, 2)),
    ("vm.percpu_pagelist_high_fraction", (0, 8)),
)


def settings_of_machines():
    """Draw tunables by name."""
    return st.fixed_dictionaries(
        {}, optional={name: st.sampled_from(values) for name, values in SETTINGS}
    )


def machines():
    """Draw small machines: nodes with and without CPUs, with swap or none."""
    return st.builds(
        small_machine,
        cpus=st.sampled_from([["0"], ["0-1"], ["0", "1"], ["0-1", ""]]),
        memory=st.sampled_from(["8M", "12M"]),
        arch=st.sampled_from(["x86_64", "x86_64", "i386", "i386pae"]),
        swap=st.sampled_from([None, "1M", "8M", "32M"]),
        sysctl=settings_of_machines(),
    ).filter(lambda spec: spec.arch == "x86_64" or len(spec.nodes) == 1)


def programs():
    """Draw what each of several processes does."""
    number = st.integers(0, 7)
    operation = st.one_of(
        st.tuples(st.just("mmap"), st.integers(1, SIZE_MAX)),
        st.tuples(st.sampled_from(["write", "write", "write", "read"]), number, number),
        st.tuples(st.sampled_from(["munmap", "dontneed"]), number),
        st.tuples(st.just("brk"), st.integers(-MIB, 2 * MIB)),
        st.tuples(st.just("sleep"), st.sampled_from(PAUSES)),
        st.tuples(st.just("kill"), st.integers(0, 3)),
        st.tuples(st.just("exit"), number),
    )
    program = st.tuples(st.integers(1, SIZE_MAX), st.lists(operation, min_size=1, max_size=8)).map(
        lambda drawn: [("mmap", drawn[0]), ("write", 0, 0), *drawn[1]]
    )
    return st.lists(program, min_size=1, max_size=4)


async def do(handle, others, regions, operation):
    """Do one operation of a process; what has no region is left out."""
    name, *values = operation
    if name == "mmap":
        regions.append(await handle.mmap(values[0]))
    elif name == "brk":
        await handle.brk(values[0])
    elif name == "sleep":
        await handle.sleep(values[0])
    elif name == "exit":
        await handle.exit(values[0])
    elif name == "kill":
        await others[values[0] % len(others)].kill()
    elif regions:
        region = regions[values[0] % len(regions)]
        if name == "munmap":
            regions.remove(region)
            await handle.munmap(region)
        elif name == "dontneed":
            await handle.madvise_dontneed(region)
        else:
            offset = region.length * values[1] // 8
            await handle.touch(region, write=name == "write", offset=offset, stride=4 * KIB)


def program_of(operations, handles):
    """Return the program of one process."""

    async def program(handle):
        regions = []
        for operation in operations:
            if handle.exit_status is not None:
                return
            try:
                await do(handle, handles, regions, operation)
            except SyscallError:
                continue  # refused, as out of memory or out of address space
            except UserError:
                assert handle.exit_status is not None, "only the dead can do nothing more"

    return program


def run_of(spec, operations, **options):
    """Run all programs to their end; return the machine and what it counts then."""

    def boot(machine):
        observe(machine.kernel)
        clock = machine.engine.clock

        def look(_is_time):
            require_sound(machine.kernel)
            clock.set_tick(None, clock.number + CHECK_EVENTS)

        clock.on_tick = look
        look(_is_time=False)

    async def main(machine):
        handles = []
        for number, steps in enumerate(operations):
            await machine.spawn(f"p{number}", program_of(steps, handles))
            handles.append(machine.processes[-1])
        for handle in handles:
            await handle.wait()
        require_sound(machine.kernel)
        snapshot = capture(machine.kernel, usage=False)
        return vmstat_counters(snapshot), meminfo_kb(snapshot)

    machine = OpenMachine(spec, on_boot=boot, max_events=1_000_000, **options)
    return machine, machine.run(main)


@settings(max_examples=30)
@given(
    spec=machines(),
    operations=programs(),
    schedule_seed=st.sampled_from([None, 1, 2]),
    burst_pages=st.sampled_from([1, 7, 512]),
)
def test_random_operations_of_several_processes(spec, operations, schedule_seed, burst_pages):
    """Nothing is lost, wrong or below zero on the way; in the end no process holds memory."""
    options = {"schedule_seed": schedule_seed, "burst_pages": burst_pages}
    machine, (events, kb) = run_of(spec, operations, **options)

    assert min(events.values()) >= 0
    assert min(kb.values()) >= 0
    assert kb["SwapCached"] <= kb["SwapTotal"] - kb["SwapFree"]
    for who in ("kswapd", "direct"):
        assert events[f"pgsteal_{who}"] <= events[f"pgscan_{who}"]
    assert not machine.kernel.processes
    assert 0 == kb["PageTables"] == kb["Committed_AS"]
    assert (events, kb) == run_of(spec, operations, **options)[1]
