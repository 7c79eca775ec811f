"""Tests of tunables written while the machine runs: each has its effect, or says it has none."""

import ast
import errno
from pathlib import Path

import pytest

from kernelsim.config.from_proc import machine_from_proc
from kernelsim.config.sysctl import IDLE, SYSCTLS
from kernelsim.config.sysctl_write import sysctl_text
from kernelsim.errors import ConfigError, SyscallError
from kernelsim.mm.core.mem import (
    Z_MANAGED,
    Z_PCP_BATCH,
    Z_PCP_HIGH,
    Z_WATERMARK_BOOST,
    Z_WATERMARK_BOOST_FACTOR,
    Z_WMARK_HIGH,
    Z_WMARK_LOW,
    Z_WMARK_MIN,
)
from kernelsim.mm.page.zone_marks import ON_WRITE
from kernelsim.report.machine_run import run_machine
from kernelsim.report.run_options import RunOptions
from kernelsim.workload.api import Workload
from tests.house_rules import sources
from tests.small_machine import PAGE, free_pages, opened, run, small_machine

CASES = Path(__file__).parents[2] / "oracle" / "cases"
MARKS = [Z_WMARK_MIN, Z_WMARK_LOW, Z_WMARK_HIGH]


def written(name, value, look, **machine):
    """Return what `look` sees of a machine before and after a write."""

    async def main(machine):
        before = look(machine)
        machine.sysctl(name, value)
        return before, look(machine)

    return run(small_machine(**machine), main).result


def marks(machine):
    """Return min, low and high of the lowest zone."""
    return machine.mem.zone[0, MARKS].tolist()


def test_watermark_scale_factor_spreads_the_watermarks():
    """By thousandths of the zone, from min on."""

    def look(machine):
        return marks(machine), int(machine.mem.zone[0, Z_MANAGED])

    _, ((low_min, low, high), managed) = written("vm.watermark_scale_factor", 1000, look)
    assert (low - low_min, high - low_min) == (managed // 10, 2 * (managed // 10))


def test_the_boost_factor_leaves_a_boost_and_the_watermarks_alone():
    """It counts from the next mixing of migratetypes on."""

    async def main(machine):
        machine.mem.zone[0, Z_WATERMARK_BOOST] = 99
        before = marks(machine)
        machine.sysctl("vm.watermark_boost_factor", 0)
        row = machine.mem.zone[0]
        return row[[Z_WATERMARK_BOOST, Z_WATERMARK_BOOST_FACTOR]].tolist(), marks(machine) == before

    assert run(small_machine(), main).result == ([99, 0], True)


def test_the_high_fraction_sizes_the_lists_of_the_cpus():
    """A part of the zone instead of its low watermark; at least four batches."""

    def look(machine):
        return machine.mem.zone[0, [Z_PCP_HIGH, Z_PCP_BATCH, Z_MANAGED]].tolist()

    _, (high, _, managed) = written("vm.percpu_pagelist_high_fraction", 8, look)
    assert high == managed // 8
    _, (high, batch, _) = written("vm.percpu_pagelist_high_fraction", 1 << 20, look)
    assert high == 4 * batch


def test_some_numbers_of_a_list_may_be_written():
    """The others stay, and what is below 1 keeps nothing."""

    def look(machine):
        return machine.sysctl("vm.lowmem_reserve_ratio"), machine.mem.lowmem_reserve[0].tolist()

    before, after = written("vm.lowmem_reserve_ratio", "32", look, memory="32M")
    assert before[0] == (256, 256, 32, 0, 0)
    assert after[0] == (32, 256, 32, 0, 0)
    assert [pages // 8 for pages in after[1]] == before[1] != [0] * 5
    _, none = written("vm.lowmem_reserve_ratio", "-1", look, memory="32M")
    assert none == ((0, 256, 32, 0, 0), [0] * 5)


def numa_counters(machine):
    """Return the sum of all counters of where requests were served."""
    return int(machine.mem.numa_stat.sum())


def test_numa_counters_are_cleared_and_stand_still_without_numa_stat():
    """They count again when it is switched on."""

    async def main(machine):
        process = await machine.spawn("p")
        sums = [numa_counters(machine)]
        for value in (0, 1):
            machine.sysctl("vm.numa_stat", value)
            await process.touch(await process.mmap(100 * PAGE), write=True)
            sums.append(numa_counters(machine))
        return sums

    at_first, off, on = run(small_machine(), main).result
    assert at_first > 0
    assert off == 0
    assert on == 200  # a hit and a local page each; the tables were there

    booted = small_machine(sysctl={"vm.numa_stat": 0})
    assert run(booted, spawn_one).result == 0


async def spawn_one(machine):
    """Start a process; return the counters."""
    await machine.spawn("p")
    return numa_counters(machine)


async def map_all(process):
    """Map pages with holes between them until refused; return the number of areas and the errno."""
    areas = process._process.mm.map
    for number in range(100):
        try:
            await process.mmap(PAGE, address=0x10_0000_0000 + 2 * PAGE * number)
        except SyscallError as error:
            return len(areas), error.errno
    return len(areas), 0


def test_max_map_count_limits_processes_old_and_new():
    """A process gets one area more than the limit, in the kernel too."""

    async def main(machine):
        old = await machine.spawn("old")
        machine.sysctl("vm.max_map_count", 20)
        new = await machine.spawn("new")
        return [await map_all(process) for process in (old, new)]

    assert run(small_machine(), main).result == [(21, errno.ENOMEM)] * 2


@pytest.mark.parametrize("memory", ["64M", "512M", "6G"])
def test_reserves_are_a_share_of_what_is_free_at_boot(memory):
    """A thirty-second of it: for a user up to 128 MiB, for root up to 8 MiB; unless written."""

    async def main(machine):
        free_kbytes = free_pages(machine) * 4
        names = ("vm.user_reserve_kbytes", "vm.admin_reserve_kbytes")
        values = [machine.sysctl(name) for name in names]
        machine.sysctl(names[0], 77)
        return free_kbytes // 32, values, machine.sysctl(names[0])

    share_kbytes, values, after = run(small_machine(memory=memory), main).result
    assert values == [min(share_kbytes, 131_072), min(share_kbytes, 8192)]
    assert after == 77


def test_committing_by_kbytes_clears_the_ratio_even_when_nothing_is_written():
    """The last one written counts: with 0 kilobytes and no ratio only swap is left."""

    async def main(machine):
        machine.sysctl("vm.overcommit_memory", 2)
        machine.sysctl("vm.overcommit_kbytes", 0)
        return machine.sysctl("vm.overcommit_ratio"), machine.kernel.mms.commit.commit_limit()

    assert run(small_machine(swap="4M"), main).result == (0, 1024 - 1)


def test_a_tunable_that_changes_nothing_says_so_once():
    """In the notes of the run, with the reason; one that works has no note."""

    async def main(machine):
        for _ in range(2):
            machine.sysctl("vm.laptop_mode", 30)
        machine.sysctl("vm.swappiness", 30)
        return machine.notes

    (note,) = run(small_machine(), main).result
    assert note.startswith("vm.laptop_mode is accepted and changes nothing yet: what is dirty")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("vm.swappiness", 201),
        ("vm.percpu_pagelist_high_fraction", 7),
        ("vm.panic_on_oom", 3),
        ("vm.numa_stat", 2),
        ("vm.swappines", 1),
        ("vm.swappines", None),
        ("vm.overcommit_memory", "2x"),
    ],
)
def test_what_the_kernel_refuses_is_refused_and_changes_nothing(name, value):
    """The name of the tunable is in the message; what was in force stays."""

    async def main(machine):
        before = machine.kernel.sysctl
        with pytest.raises(ConfigError, match=name):
            machine.sysctl(name, value)
        return machine.kernel.sysctl == before

    assert run(small_machine(), main).result


# A write of it takes the ratio out of force, whatever it is.
CLEARING = {"vm.overcommit_kbytes"}


def test_writing_the_value_in_force_changes_nothing():
    """Whatever the tunable; a boost that a zone has stays too."""

    async def main(machine):
        machine.mem.zone[0, Z_WATERMARK_BOOST] = 99
        before = state(machine)
        for name in sorted(SYSCTLS.keys() - CLEARING):
            machine.sysctl(name, machine.sysctl(name))
            assert state(machine) == before, name

    run(small_machine(swap="4M"), main)


@pytest.mark.parametrize(("case", "boot_had_less"), [("s05", False), ("s09", True)])
def test_writing_the_value_in_force_changes_nothing_on_a_recorded_machine(case, boot_had_less):
    """The marks of its boot stay, also where it had less memory then; another value ends them."""
    recorded = machine_from_proc(CASES / case / "before")
    settings = tuple(
        f"{name}={sysctl_text(entry, getattr(recorded.sysctl, entry.attribute))}"
        for name, entry in SYSCTLS.items()
        if name not in CLEARING
    )
    states = []

    async def main(machine):
        states.append(state(machine))
        kbytes = machine.sysctl("vm.min_free_kbytes")
        machine.sysctl("vm.min_free_kbytes", kbytes)
        assert state(machine) == states[0]
        machine.sysctl("vm.min_free_kbytes", kbytes + 4)
        machine.sysctl("vm.min_free_kbytes", kbytes)
        assert (state(machine)[0] != states[0][0]) == boot_had_less

    for given in ((), settings):
        workload = Workload(opened(main), "machine", recorded)
        run_machine(workload, RunOptions(settings=given), name="w.py")
    assert states[0] == states[1]


def state(machine):
    """Return what tunables decide: marks, sizes and factors of zones, reserves, the tunables."""
    columns = [*MARKS, Z_PCP_HIGH, Z_PCP_BATCH, Z_WATERMARK_BOOST, Z_WATERMARK_BOOST_FACTOR]
    return (
        machine.mem.zone[:, columns].tolist(),
        machine.mem.lowmem_reserve.tolist(),
        machine.kernel.phys.totalreserve_pages,
        machine.kernel.sysctl,
        machine.mem.numa_stat.sum(),
    )


# Where tunables are obeyed; other parts name, show and compare them.
OBEYING = ("mm", "block", "sched", "actors")
# Read on behalf of a process that is not root's; there is none yet.
NEVER_READ = {"vm.admin_reserve_kbytes"}
# Computed anew when memory comes or goes, unless the user has written it.
ALSO_READ = {
    "vm.min_free_kbytes": {
        "kernelsim.actors.core.sysctl",
        "kernelsim.mm.boot.early_marks",
        "kernelsim.mm.boot.mm_init",
        "kernelsim.mm.page.memory_hotplug",
    },
}


def readers(attributes):
    """Return the modules that read each attribute of a `Sysctl`."""
    found = {attribute: set() for attribute in attributes}
    for source in sources("kernelsim"):
        if source.folder in OBEYING:
            module = source.path.removesuffix(".py").replace("/", ".")
            for node in ast.walk(source.tree):
                if isinstance(node, ast.Attribute) and node.attr in found:
                    found[node.attr].add(module)
    return found


def test_each_tunable_is_read_or_handled_or_idle():
    """Exactly one of the three, found by looking at the code.

    What a handler computes from is read where the handler is, and nowhere else: else a value
    would have two homes.
    """
    reading = readers({entry.attribute for entry in SYSCTLS.values()})
    kinds = {}
    for name, entry in SYSCTLS.items():
        modules = reading[entry.attribute]
        handler = ON_WRITE.get(name)
        if handler is not None:
            assert handler.__module__ in modules, f"{name}: its handler does not look at it"
            modules = modules - {handler.__module__} - ALSO_READ.get(name, set())
        is_read = bool(modules) and name not in NEVER_READ
        kinds[name] = {"read": is_read, "handled": handler is not None, "idle": bool(entry.idle)}
    wrong = {name: kind for name, kind in kinds.items() if sum(kind.values()) != 1}
    assert {} == wrong
    assert ON_WRITE.keys() <= SYSCTLS.keys()
    assert {name for name, kind in kinds.items() if kind["idle"]} == IDLE.keys()
    for name in NEVER_READ:
        assert reading[SYSCTLS[name].attribute], f"{name}: nothing reads it at all"
