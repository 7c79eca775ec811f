"""Random programs of system calls with sane and evil arguments: none gets a wrong answer.

An answer is compared with what the manual pages say, as far as they tell it from the mappings
alone (tests/call_errno.py). A call that fails has changed nothing, except where Linux itself leaves
behind what it did before it failed (tests/call_state.py). After each program every invariant holds.
"""

import errno

import pytest
from hypothesis import Phase, given, settings

from kernelsim.actors.process.calls import (
    executing,
    files,
    forking,
    life,
    protecting,
)
from kernelsim.actors.process.calls.table import CALLS
from kernelsim.check.machine import require_sound
from kernelsim.check.record import observe
from kernelsim.mm.space.mm_struct import RLIM_INFINITY
from kernelsim.mm.space.mprotect import ProtectChange
from kernelsim.mm.space.util import OVERCOMMIT_ALWAYS
from tests.call_errno import expected
from tests.call_programs import FILE_PAGES, FILES, Arguments, programs
from tests.call_space import Space
from tests.call_state import State
from tests.small_machine import PAGE, OpenMachine, small_machine

DEFAULT_MAX_MAP_COUNT = 65_530

pytestmark = [pytest.mark.mission("V12"), pytest.mark.mission("B3")]


class Processes:
    """The processes of a program, and what they are asked.

    Args:
        machine: It runs.
        program: What to run.
    """

    def __init__(self, machine, program):
        self.kernel = machine.kernel
        self.program = program
        self.all = []

    async def run(self, first):
        """Make every call; a process that may not go on lets another one do it."""
        self.all.append(first)
        for step in self.program.steps:
            able = [each for each in self.all if not each.has_ended() and not each.vfork_child]
            if not able:
                return
            entry = able[step.who % len(able)]
            await self.make(entry, step)
        for entry in reversed(self.all):
            if not entry.has_ended():
                await entry.ref.ask(life.Exit(0))

    async def make(self, entry, step):
        """Make one call."""
        mm = entry.mm
        areas = [(vma.start, vma.end) for vma in mm.map]
        value = Arguments(areas, mm.brk, [each.pid for each in self.all]).value(step)
        if isinstance(value, forking.Wait4):
            child = entry.children.get(value.pid)
            if child is not None and not child.is_zombie:
                return  # nobody would end it
        space, before = space_of(self.kernel, entry), State.of(self.kernel, mm)
        answer = await entry.ref.ask(value)
        if answer is None or entry.has_ended() or isinstance(value, executing.Execve):
            return
        number = CALLS.by_value[type(value)].errno_of(answer)
        self.judge(value, -number, expected(space, value))
        if number:
            before.require_same(State.of(self.kernel, mm), value, number)
        if isinstance(value, forking.Fork) and isinstance(answer, int) and answer > 0:
            self.all.append(entry.children[answer])

    def judge(self, value, answer, wanted):
        """Compare an answer with what the manual says; limits may be in the way at any time."""
        is_tight = answer in (-errno.ENOMEM, -errno.EAGAIN) and self.is_tight()
        if wanted is None or answer in wanted or is_tight:
            return
        shown = [errno.errorcode.get(-number, "success") for number in (answer, *wanted)]
        pytest.fail(f"{value}: {shown[0]}, not {' or '.join(shown[1:])}")

    def is_tight(self):
        """Tell whether a call may fail for want of memory, of mappings or of rights to it."""
        rlimits = [entry.mm.rlimits for entry in self.all]
        return (
            self.program.overcommit != OVERCOMMIT_ALWAYS
            or self.program.max_map_count < DEFAULT_MAX_MAP_COUNT
            or any(limit.address_space < RLIM_INFINITY for limit in rlimits)
            or any(limit.data < RLIM_INFINITY for limit in rlimits)
        )


def space_of(kernel, entry):
    """Return what the manual needs to know of an address space."""
    mm = entry.mm
    return Space(
        areas=tuple(mm.map),
        task_size=mm.map.task_size,
        locked_bytes=mm.locked_vm * PAGE,
        memlock=mm.rlimits.memlock,
        is_root=entry.uid == 0,
        files={fd: (file.can_read, file.can_write) for fd, file in entry.files.items()},
        with_memory=kernel.phys.nodes_with_memory,
    )


def spec_of(program):
    """Return the machine of a program."""
    return small_machine(
        cpus=["0", ""][: program.nr_nodes],
        memory="8M",
        swap=program.swap,
        files={"/data": f"{FILE_PAGES * 4}K"},
        sysctl={
            "vm.overcommit_memory": program.overcommit,
            "vm.max_map_count": program.max_map_count,
        },
    )


async def prepare(machine, program):
    """Start the first process of a program, with its files open; return its entry."""
    handle = await machine.spawn("p")
    handle.uid = program.uid
    entry = machine.kernel.processes[handle.pid]
    if program.catches_faults:
        await entry.ref.ask(life.Sigaction())
    await entry.ref.ask(files.Open(FILES[0]))
    await entry.ref.ask(files.Open(FILES[0], mode="r"))
    await entry.ref.ask(files.Open(FILES[0], mode="w"))
    await handle.open(FILES[1], create=True)
    await handle.write(6, FILE_PAGES * PAGE, offset=0)
    return entry


def run_program(program):
    """Run a program; every invariant is checked at its end, and when all of it is gone."""

    async def main(machine):
        entry = await prepare(machine, program)
        await Processes(machine, program).run(entry)
        require_sound(machine.kernel)

    machine = OpenMachine(
        spec_of(program),
        on_boot=lambda machine: observe(machine.kernel),
        burst_pages=program.burst_pages,
        max_events=1_000_000,
    )
    machine.run(main)


def test_no_program_gets_a_wrong_answer(pytestconfig):
    """Whatever is asked for, the answer is the manual's, and the machine stays sound.

    `--programs 10000 --hypothesis-seed 1` draws as many as that.
    """

    @settings(max_examples=pytestconfig.getoption("programs"))
    @given(program=programs())
    def run_one(program):
        run_program(program)

    run_one()


def test_a_wrong_answer_is_noticed(monkeypatch):
    """Of a kernel that grants whatever mprotect is asked for."""
    monkeypatch.setattr(protecting, "do_mprotect", lambda *_: ProtectChange(0))

    @settings(max_examples=200, phases=[Phase.generate])
    @given(program=programs())
    def run_one(program):
        run_program(program)

    with pytest.raises(pytest.fail.Exception, match=r"Mprotect.*: success, not E"):
        run_one()
