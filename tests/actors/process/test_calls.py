"""The table of system calls: what a new call takes, and what entries promise."""

import errno
import shutil
from pathlib import Path

import attrs
import pytest

from kernelsim.actors.process.calls.call import Call
from kernelsim.actors.process.calls.effect import Effect, page_range
from kernelsim.actors.process.calls.table import CALLS
from kernelsim.actors.space.mmu_gather import unmap_vmas
from kernelsim.check.machine import check_machine
from kernelsim.check.record import observe
from kernelsim.errors import ConfigError, SyscallError, WorkloadError
from kernelsim.oracle.case_run import run_case
from kernelsim.workload.script.script_steps import GRAMMAR, form_of
from tests.small_machine import PAGE, run, small_machine

CASES = Path(__file__).parents[2] / "oracle" / "cases"


@attrs.frozen
class Forget:
    """Drop the pages of a range, as a new call might; answered with how many there were."""

    address: int
    length: int


async def forget(caller, message):
    """Zap the range."""
    await caller.enter_kernel()
    if message.length > PAGE << 8:
        return -errno.ENOMEM
    (vma,) = caller.mm.map.overlapping(message.address, message.address + message.length)
    return await unmap_vmas(caller.current, caller.mm, [vma])


FORGET = Call(
    name="forget",
    value=Forget,
    handler=forget,
    returns="number",
    errors=(errno.ENOMEM,),
    form="region",
    steps={"forget": {}},
    effect=Effect(
        leaves=lambda _mm, value: (page_range(value.address, value.length),),
        drops=lambda _value, answer, leaving: leaving if answer >= 0 else (),
    ),
)


@pytest.fixture
def new_call():
    """Register a call for one test."""

    def register(call):
        CALLS.register(call)

    tables = [dict(table) for table in (CALLS.by_value, CALLS.by_name, CALLS.by_step)]
    yield register
    for table, before in zip((CALLS.by_value, CALLS.by_name, CALLS.by_step), tables, strict=True):
        table.clear()
        table.update(before)


async def write_and_forget(machine):
    """Write a region and call the new call on it; return its answer and what is left."""
    process = await machine.spawn("p")
    region = await process.mmap("64K")
    await process.touch(region, write=True)
    answer = await process.syscall("forget", region)
    return answer, process.stats.rss_pages


def test_a_call_of_one_entry_is_made_through_the_handle(new_call):
    """The actor runs it, the checker knows its effect, its errno is an exception."""
    new_call(FORGET)

    async def main(machine):
        done = await write_and_forget(machine)
        process = machine.processes[0]
        with pytest.raises(SyscallError, match="forget: ENOMEM"):
            await process.syscall("forget", await process.mmap("4M"))
        with pytest.raises(WorkloadError, match="forget takes region, not 1, 2"):
            await process.syscall("forget", 1, 2)
        return done

    assert run(small_machine(), main).result == (16, 0)


def test_the_checker_follows_the_effect_of_an_entry(new_call):
    """The same call without its effect leaves pages that do not hold what they should."""
    new_call(attrs.evolve(FORGET, effect=Effect()))

    async def main(machine):
        observe(machine.kernel)
        await write_and_forget(machine)
        return check_machine(machine.kernel)

    found = run(small_machine(), main, sound=False).result
    assert any("holds 0, expected" in line for line in found)


def test_a_call_of_one_entry_is_a_step_of_scripts(new_call, tmp_path):
    """Its form is its grammar, and its answer the result of the step."""
    new_call(FORGET)
    case, out = tmp_path / "case", tmp_path / "out"
    shutil.copytree(CASES / "s01" / "before", case / "before")
    (case / "script.txt").write_text("memhog mmap:a:64K touchw:a forget:a\n")
    out.mkdir()
    assert form_of("forget") == "region"
    run_case(case, out)
    lines = (out / "workload.out").read_text().splitlines()
    assert next(line for line in lines if "op=forget:a" in line).split()[3] == "ret=16"


def test_forms_of_the_recorded_program_are_kept():
    """A call that the recorded program has too takes the arguments that it takes there."""
    own = {"mbindmove", "migratepages", "mprotect", "setrlimit"}
    own |= {"mremap", "mremapinplace", "mremapkeep", "mlockall", "mlockfuture", "munlockall"}
    assert {step: call.form for step, call in CALLS.by_step.items() if step not in own} == {
        step: GRAMMAR[step] for step in CALLS.by_step if step not in own
    }
    assert own <= set(CALLS.by_step) - set(GRAMMAR)


def test_no_such_call_is_named():
    """With those that there are."""

    async def main(machine):
        process = await machine.spawn("p")
        with pytest.raises(
            ConfigError,
            match="one of brk, close, compact_memory, drop_caches, fadvise, fdatasync, f",
        ):
            await process.syscall("mlokc")

    run(small_machine(), main)
