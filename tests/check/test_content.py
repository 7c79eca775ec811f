"""Tests of what every page must hold: `--check` finds content that is not what a process wrote."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from kernelsim.actors.parts.observer import Observer
from kernelsim.actors.process.calls import access, advising
from kernelsim.actors.process.calls.access import Touch, TouchResult
from kernelsim.actors.process.calls.effect import PageRange, StoreRun, page_range
from kernelsim.actors.process.calls.mapping import Brk, Munmap
from kernelsim.actors.process.calls.table import CALLS
from kernelsim.actors.space import burst_witness, fault_handler
from kernelsim.check.content import Content
from kernelsim.check.machine import check_machine
from kernelsim.check.record import observe
from kernelsim.cli import main as cli
from kernelsim.config.machine_file import load_machine
from kernelsim.errors import InvariantViolation
from kernelsim.mm.burst.columns import B_AT, B_DONE, B_LISTED, B_MM, B_STRIDE, B_VPN
from kernelsim.mm.core.vmstat import PSWPOUT
from kernelsim.mm.space.pgtable import pte_at
from kernelsim.report import machine_run
from kernelsim.report.machine_run import run_machine
from kernelsim.report.run_options import RunOptions
from kernelsim.units import PAGE_SIZE
from kernelsim.workload.api import Workload
from tests.small_machine import OpenMachine, opened, small_machine
from tests.table_box import set_pte_at

pytestmark = pytest.mark.mission("B3")

PROGRAM = """
from kernelsim.mm.space.pgtable import pte_at
from kernelsim.workload import workload

def entry(machine, process, vpn):
    kernel = machine._machine.kernel
    return pte_at(*kernel.space, process._process.mm.number, vpn)

@workload(machine="tiny-64m")
async def main(machine):
    kernel = machine._machine.kernel
    tokens, swap = kernel.mem.pages.token, kernel.swap
    process = await machine.spawn("hog")
    area = await process.mmap("{size}")
    await process.touch(area, write=True)
    await process.touch(area, write=True, length="64K")
    await machine.sleep("1s")
    first = area.address >> 12
    page = first + {page}
    pte = entry(machine, process, page)
{body}
"""


def status_of(tmp_path: Any, capsys: Any, *, size: str, page: int, body: str) -> tuple[int, str]:
    """Run a program with `--check`, as a user does; return the status and what stderr says."""
    path = tmp_path / "w.py"
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    path.write_text(PROGRAM.format(size=size, page=page, body=lines))
    status = cli.exit_status(["run", str(path), "--check"])
    return status, capsys.readouterr().err


PLANTS = {
    "a resident page": ("tokens[pte >> 12 & 0xFFFFFF] = 5", 300, r"holds 5, expected {1} (pfn "),
    "a page zeroed": ("tokens[pte >> 12 & 0xFFFFFF] = 0", 300, r"holds 0, expected {1} (pfn "),
    "a lost write": ("tokens[pte >> 12 & 0xFFFFFF] -= 1", 3, r"holds {1}, expected {2} (pfn "),
}


@pytest.mark.parametrize("name", PLANTS)
def test_a_resident_page_with_other_content_is_found(tmp_path, capsys, name):
    """A token changed, zeroed or set back to that of an older store ends the run with status 3."""
    body, page, text = PLANTS[name]
    status, err = status_of(tmp_path, capsys, size="4M", page=page, body=body)
    assert status == cli.EXIT_OUR_BUG
    first, second = 100 << 32 | 2, 100 << 32 | 3  # of the second and third operation of pid 100
    assert text.replace("{1}", str(first)).replace("{2}", str(second)) in err
    assert "pid 100 vpn 0x" in err
    assert err.splitlines()[0].startswith("1 invariants do not hold at ")


def test_a_slot_with_other_content_is_found(tmp_path, capsys):
    """A page on swap only is compared by what its slot holds."""
    body = """
        victim = next(vpn for vpn in range(page, page + 15000)
                      if entry(machine, process, vpn) & 1 == 0
                      and not swap.cache_pfn[entry(machine, process, vpn) >> 12])
        swap.token[entry(machine, process, victim) >> 12] = 5"""
    body = "\n".join(line.removeprefix("        ") for line in body.splitlines()[1:])
    status, err = status_of(tmp_path, capsys, size="62M", page=16, body=body)
    assert status == cli.EXIT_OUR_BUG
    assert f"holds 5, expected {100 << 32 | 2} (slot " in err


def test_a_sound_program_is_not_complained_of(tmp_path, capsys):
    """Without a fault planted the same programs end well, swapping or not."""
    for size in ("4M", "62M"):
        found = status_of(tmp_path, capsys, size=size, page=3, body="assert pte")
        assert found == (cli.EXIT_DONE, "")


def lose_stores(monkeypatch):
    """Let what a burst stored be zero, though the program has gone on."""
    real = burst_witness.run_watched

    def forgetful(*given: Any) -> Any:
        done = real(*given)
        mem, pt, mms, _, burst = given[:5]
        row = burst.run[done[1]]
        if row[B_DONE] and done[0]:
            listed = int(burst.access[done[1], row[B_AT] - 1]) >> 1
            vpn = listed if row[B_LISTED] else int(row[B_VPN] - row[B_STRIDE])
            pte = pte_at(mem, pt, mms, int(row[B_MM]), vpn)
            mem.pages.token[pte >> 12 & 0xFFFFFF] = 0
        return done

    monkeypatch.setattr(burst_witness, "run_watched", forgetful)


@pytest.mark.parametrize("is_lost", [False, True])
def test_stores_of_a_replay_are_followed(tmp_path, capsys, monkeypatch, is_lost):
    """A recording replayed with `--check` has its stores followed too; one lost ends the run."""
    if is_lost:
        lose_stores(monkeypatch)
    path = tmp_path / "tiny.lackey"
    pages = [page for _ in range(3) for page in (0x1000, 0x1001, 0x1002, 0x1003)]
    path.write_text("".join(f" S {page:x}008,8\n" for page in pages))
    status = cli.exit_status(["run", str(path), "--check-every", "1"])
    assert status == (cli.EXIT_OUR_BUG if is_lost else cli.EXIT_DONE)
    assert ("holds 0, expected" in capsys.readouterr().err) == is_lost


def test_a_store_lost_in_a_burst_is_found(monkeypatch):
    """What compiled code does is followed event by event."""
    lose_stores(monkeypatch)
    with pytest.raises(InvariantViolation, match=r"holds 0, expected \d+ \(pfn"):
        run(small, 1)


def checked_machine() -> OpenMachine:
    """Make a small machine that is watched."""
    machine = OpenMachine(load_machine("tiny-64m"), seed=1)
    observe(machine.kernel)
    return machine


def after_touching(damage: Callable[[OpenMachine, Any, int], None]) -> list[str]:
    """Return what is found when a process of 1 MiB written and 1 MiB read is damaged."""
    machine = checked_machine()

    async def main(machine: OpenMachine) -> list[str]:
        user = await machine.spawn("user")
        area = await user.mmap("2M")
        await user.touch(area, write=True, length="1M")
        await user.touch(area, offset="1M")
        assert check_machine(machine.kernel) == []
        damage(machine, user._process, area.address >> 12)
        return check_machine(machine.kernel)

    found = machine.run(main)
    assert found is not None
    return found


def unmap(machine: OpenMachine, user: Any, vpn: int) -> None:
    """Clear an entry of the page table."""
    kernel = machine.kernel
    set_pte_at(*kernel.space, user.mm.number, vpn, 0)


def map_elsewhere(machine: OpenMachine, user: Any, vpn: int) -> None:
    """Let a page that was only read stand for another page that holds zero."""
    kernel = machine.kernel
    state = *kernel.space, user.mm.number
    pte = pte_at(*state, vpn + 300)
    set_pte_at(*state, vpn + 300, (pte & ~(0xFFFFFF << 12)) | 9 << 12)


def write_zero_page(machine: OpenMachine, user: Any, vpn: int) -> None:
    """Write to the page all readers share."""
    machine.mem.pages.token[machine.kernel.zero_pfn] = 9


def forget_mapping(machine: OpenMachine, user: Any, vpn: int) -> None:
    """Take a mapping away and leave its pages."""
    user.mm.map.remove(vpn << 12, (vpn + 8) << 12)


DAMAGE = {
    unmap: "(not mapped)",
    map_elsewhere: "another page than the zero page stands for it",
    write_zero_page: "holds 9, expected 0",
    forget_mapping: "has an entry, but no mapping covers it",
}


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda function: function.__name__)
def test_damage_to_the_page_tables_shows_in_the_content(damage):
    """A page gone, another one in its place, a written zero page, pages nobody mapped."""
    assert any(DAMAGE[damage] in line for line in after_touching(damage))


async def busy(machine: OpenMachine) -> None:
    """Store in every way there is, with more memory than there is, then let all of it go."""
    first = await machine.spawn("first")
    second = await machine.spawn("second", program)
    await first.start_image()
    area = await first.mmap("30M")
    await first.touch(area, write=True)
    await first.touch(area, write=True, stride=3 * PAGE_SIZE, passes=2)
    await first.touch(area, write=True, stride=7000, length="1M")
    await first.touch(area, write=True, stride=64, length="100K")
    await first.madvise_dontneed(type(area)(area.address + (1 << 20), 1 << 20))
    await first.touch(area)
    await first.mmap("1M", address=area.address)
    await first.brk("1M")
    await first.brk("-300K")
    await first.munmap(type(area)(area.address + (9 << 20), 8 << 20))
    await second.wait()
    await first.exit()


async def program(process: Any) -> None:
    """Write pages in a scattered order, more than fit beside the other process."""
    area = await process.mmap("36M")
    first = area.address >> 12
    order = [first + page * 7919 % 9216 for page in range(9216)]
    await process.touch_pages(order, [page % 3 != 0 for page in range(9216)])
    await process.touch_pages(order, [page % 3 == 0 for page in range(9216)])


def run(main: Any, every: int, machine: Any = "tiny-64m", **options: Any) -> OpenMachine:
    """Run with `--check`, looking each so many events; give the machine back."""
    checked = RunOptions(machine=machine, check=True, check_every=every, **options)
    return run_machine(Workload(opened(main), "machine"), checked, name="w.py").machine


@pytest.fixture
def looks(monkeypatch):
    """Collect at each look how many pages the record holds, and how many stores are under way."""
    seen, real = list[tuple[int, int]](), machine_run.require_sound

    def look(kernel: Any) -> None:
        contents = kernel.observer.contents.values()
        stored = sum(int(np.count_nonzero(content.tokens)) for content in contents)
        seen.append((stored, sum(len(content.stores) for content in contents)))
        real(kernel)

    monkeypatch.setattr(machine_run, "require_sound", look)
    return seen


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "burst_pages"), [(1, None), (2, 7)])
def test_every_way_to_store_is_followed(seed, burst_pages, looks):
    """Touches, lists, odd strides, images, brk, madvise, MAP_FIXED, munmap, exit; under reclaim."""
    machine = run(busy, 397, seed=seed, schedule_seed=seed, burst_pages=burst_pages)
    assert machine.mem.vm_event[PSWPOUT] > 0
    assert len(looks) >= machine.engine.clock.number // 800
    assert max(stored for stored, _ in looks) > machine.kernel.phys.totalram_pages


async def small(machine: OpenMachine) -> None:
    """Let two processes fault bursts in, one of them twice, and give them back."""
    users = [await machine.spawn(name) for name in ("a", "b")]
    for user in users:
        area = await user.mmap("512K")
        await user.touch(area, write=True)
        await user.touch(area, write=True)
        await user.madvise_dontneed(area)
        await user.touch(area, write=True, stride=2 * PAGE_SIZE)
        await user.exit()


def test_looks_in_the_middle_of_a_burst_find_nothing(looks):
    """Between any two events all is as the processes were told, or on its way to be."""
    machine = run(small, 1)
    assert len(looks) > machine.engine.clock.number // 3  # an ask in line takes two numbers
    assert max(under_way for _, under_way in looks) == 1
    assert max(stored for stored, _ in looks) == 512 << 10 >> 12


def test_pages_on_their_way_from_swap_hold_what_their_slots_do():
    """While a page is read its frame holds nothing yet; the slot answers for it."""

    async def main(machine: OpenMachine) -> None:
        user = await machine.spawn("user")
        area = await user.mmap("12M")
        await user.touch(area, write=True)
        result = await user.touch(area, length="2M")
        assert result.majflt > 20

    run(main, 25, small_machine(memory="8M", swap="32M"))


def test_a_process_that_leaves_stores_out_is_found(monkeypatch):
    """When an access has ended, all of it must have happened, whatever was told on the way."""
    real = access._touch_run

    async def hasty(caller: Any, vma: Any, address: int, nr: int, *rest: Any) -> int:
        return await real(caller, vma, address, nr - 1, *rest) + PAGE_SIZE

    monkeypatch.setattr(access, "_touch_run", hasty)
    with pytest.raises(InvariantViolation, match=r"holds 0, expected \d+ \(not mapped\)"):
        run(small, 1)


def test_a_store_that_a_fault_left_out_is_found_before_the_call_ends(monkeypatch):
    """A fault that says the access is done has left the program's store in the page."""
    real = fault_handler.map_anon

    def leaky(mem: Any, pt: Any, mms: Any, mm: int, vpn: int, *rest: Any) -> int:
        done = real(mem, pt, mms, mm, vpn, *rest)
        mem.pages.token[pte_at(mem, pt, mms, mm, vpn) >> 12 & 0xFFFFFF] = 0
        return int(done)

    monkeypatch.setattr(fault_handler, "map_anon", leaky)
    monkeypatch.setattr(fault_handler, "touch_present", lambda *_: (1, 0, 1, 0, 0))
    with pytest.raises(InvariantViolation, match=r"holds 0, expected \d+ \(pfn"):
        run(small, 1, burst_pages=1)


def test_a_store_out_of_turn_is_found(monkeypatch):
    """A page behind those the fault handler was asked for must hold what it held."""
    real = fault_handler.map_anon

    def eager(mem: Any, pt: Any, mms: Any, mm: int, vpn: int, *rest: Any) -> int:
        before = pte_at(mem, pt, mms, mm, vpn - 1)
        if before & 1:
            mem.pages.token[before >> 12 & 0xFFFFFF] = rest[-1] + 1
        return int(real(mem, pt, mms, mm, vpn, *rest))

    monkeypatch.setattr(fault_handler, "map_anon", eager)
    with pytest.raises(InvariantViolation, match=r"vpn 0x\w+: holds \d+, expected \d+ \(pfn"):
        run(small, 1, burst_pages=1)


def test_pages_that_madvise_left_are_found(monkeypatch):
    """A program that was told its pages are dropped reads zeros."""

    async def unmap_vmas(*_: object) -> int:
        return 0

    monkeypatch.setattr(advising, "unmap_vmas", unmap_vmas)
    with pytest.raises(InvariantViolation, match=rf"holds {100 << 32 | 3}, expected 0"):
        run(small, 1)


def test_no_record_is_kept_without_check():
    """Who did not ask for checks does not pay for them."""
    workload, options = Workload(opened(small), "machine"), RunOptions(machine="tiny-64m")
    kernel = run_machine(workload, options, name="w.py").machine.kernel
    assert type(kernel.observer) is Observer


def test_content_is_kept_by_page():
    """Later stores replace earlier ones, what is dropped reads 0, over block borders too."""
    content = Content()
    content.write_run(500, 600, 1, 7)
    content.write_run(511, 3, 2, 8)
    content.drop(600, 1030)
    held = {
        vpn: int(content.tokens[content.known_row(vpn >> 9), vpn & 511])
        for vpn in (499, 500, 510, 511, 512, 513, 599, 600, 1029, 1030, 1099)
    }
    assert held == {
        499: 0, 500: 7, 510: 7, 511: 8, 512: 7, 513: 8, 599: 7, 600: 0, 1029: 0, 1030: 7, 1099: 7,
    }  # fmt: skip


def dropped(value: Any, answer: int, *leaving: PageRange) -> tuple[PageRange, ...]:
    """Return what a call drops, as its entry of the table says."""
    return CALLS.by_value[type(value)].effect.drops(value, answer, leaving)


def test_an_operation_that_failed_changed_nothing():
    """A munmap that was refused, or a heap that did not shrink, keeps its content."""
    leaving = page_range(4096, 8192)
    assert (leaving,) == dropped(Munmap(4096, 8192), 0, leaving)
    assert () == dropped(Munmap(4096, 8192), -22, leaving)
    assert ((4, 5),) == dropped(Brk(-4096), 4 * 4096 - 5, PageRange(4, 5))
    assert () == dropped(Brk(-4096), 5 * 4096 - 5, PageRange(4, 5))


def test_accesses_between_pages_are_entered():
    """Strides below and above a page that are no multiples of it store where they fall."""
    content = Content()
    touches = (Touch(4000, 300, write=True, stride=100), Touch(20480, 20001, True, 10000))
    for token, touch in enumerate(touches, start=7):
        for stores in CALLS.by_value[Touch].effect.stores(touch, TouchResult()):
            if isinstance(stores, StoreRun):
                content.write_run(*stores, token)
            else:
                content.write(stores, token)
    assert content.tokens[0, :12].tolist() == [7, 7, 0, 0, 0, 8, 0, 8, 0, 8, 0, 0]
