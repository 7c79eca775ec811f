"""Each invariant is broken once in a running machine; a run with `--check` ends and names it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from kernelsim.actors.alloc import page_allocator
from kernelsim.check.machine import check_machine
from kernelsim.check.record import observe
from kernelsim.cli import main as cli
from kernelsim.errors import InvariantViolation
from kernelsim.mm.core.list import list_add, list_del
from kernelsim.mm.core.mem import (
    L_COUNT,
    L_HEAD,
    LRU_INACTIVE_ANON,
    MIGRATE_MOVABLE,
    Z_FREE,
    Z_MANAGED,
    Z_WMARK_HIGH,
    Mem,
    PG_active,
    PG_buddy,
    PG_lru,
    PG_pcp,
    PG_swapcache,
    free_list,
    lru_list,
    zone_of,
)
from kernelsim.mm.core.vmstat import NR_ANON_PAGES, NR_INACTIVE_ANON, NR_SWAPCACHED, NR_WRITEBACK
from kernelsim.mm.page.page_alloc import ALLOC_NO_WATERMARKS, rmqueue
from kernelsim.mm.space.pgtable import MM_ANONPAGES
from kernelsim.mm.swap.swap_area import SS_FREE
from kernelsim.report.machine_run import run_machine
from kernelsim.report.run_options import RunOptions
from kernelsim.workload.api import Workload
from tests.small_machine import OpenMachine, opened, small_machine

pytestmark = pytest.mark.mission("B3")

SPEC = small_machine(memory="8M", swap="16M")


def free_block(mem: Mem) -> int:
    """Return a free block of some pages, not the largest."""
    heads = np.flatnonzero(mem.pages.flags & np.uint32(PG_buddy))
    orders = mem.pages.private[heads] & 15
    return int(heads[(orders > 0) & (orders < 9)][0])


def some_page(mem: Mem, lru: int = LRU_INACTIVE_ANON) -> int:
    """Return the first page of an LRU list that is not empty."""
    heads = [int(mem.lists[lru_list(mem, 0, which), L_HEAD]) for which in (lru, 1 - lru)]
    return heads[0] or heads[1]


def lose_a_page(machine: OpenMachine) -> None:
    """Take a page out of the buddy system and forget it."""
    zone = int(machine.mem.zone[:, Z_FREE].argmax())
    assert rmqueue(machine.mem, zone, 0, MIGRATE_MOVABLE)


def free_a_used_page(machine: OpenMachine) -> None:
    """Put a page that is mapped on a free list as well."""
    mem, pfn = machine.mem, some_page(machine.mem)
    zone = int(mem.zone[:, Z_FREE].argmax())
    mem.pages.flags[pfn] = PG_buddy
    mem.pages.private[pfn] = MIGRATE_MOVABLE << 4
    list_add(mem, free_list(zone, 0, MIGRATE_MOVABLE), pfn)


def shift_a_block(machine: OpenMachine) -> None:
    """Make a free block larger than its place allows."""
    machine.mem.pages.private[free_block(machine.mem)] += 3


def leave_buddies(machine: OpenMachine) -> None:
    """Cut a free block in two halves."""
    mem = machine.mem
    pfn = free_block(mem)
    private = int(mem.pages.private[pfn])
    order, migratetype = private & 15, private >> 4
    zone = zone_of(mem, pfn)
    list_del(mem, free_list(zone, order, migratetype), pfn)
    for half in (pfn, pfn + (1 << order >> 1)):
        mem.pages.flags[half] = PG_buddy
        mem.pages.private[half] = migratetype << 4 | order - 1
        list_add(mem, free_list(zone, order - 1, migratetype), half)


def miscount_a_free_list(machine: OpenMachine) -> None:
    """Count a block too many on a free list: nr_free of /proc/buddyinfo."""
    mem = machine.mem
    number = int(np.flatnonzero(mem.lists[:, L_COUNT])[0])
    mem.lists[number, L_COUNT] += 1


def miscount_free(machine: OpenMachine) -> None:
    """Count a free page too few in a zone."""
    machine.mem.zone[int(machine.mem.zone[:, Z_FREE].argmax()), Z_FREE] -= 1


def mix_up_marks(machine: OpenMachine) -> None:
    """Put a high watermark below the low one."""
    machine.mem.zone[int(machine.mem.zone[:, Z_FREE].argmax()), Z_WMARK_HIGH] = 1


def flip(bit: int) -> Callable[[OpenMachine], None]:
    """Flip a flag of a page on an LRU list."""

    def flip_flag(machine: OpenMachine) -> None:
        machine.mem.pages.flags[some_page(machine.mem)] ^= np.uint32(bit)

    return flip_flag


def add(column: str, row: Any, amount: int = 1) -> Callable[[OpenMachine], None]:
    """Miscount something of the machine."""

    def miscount(machine: OpenMachine) -> None:
        kernel = machine.kernel
        sources = (kernel.mem, kernel.mem.pages, kernel.mms.mms, kernel.swap)
        [array] = [getattr(part, column) for part in sources if hasattr(part, column)]
        array[row] += amount

    return miscount


def of_mapped(column: str, amount: int) -> Callable[[OpenMachine], None]:
    """Change a column of a page on an LRU list: what the reverse map goes by."""

    def change(machine: OpenMachine) -> None:
        getattr(machine.mem.pages, column)[some_page(machine.mem)] += amount

    return change


def slot_of(machine: OpenMachine, *, cached: bool) -> int:
    """Return a swap slot in use, with a page in the swap cache or without."""
    swap = machine.kernel.swap
    used = (swap.map != 0) & (swap.map != 0x3F)
    return int(np.flatnonzero(used & ((swap.cache_pfn != 0) == cached))[0])


def use_a_slot_twice(machine: OpenMachine) -> None:
    """Count an entry too many for a slot."""
    machine.kernel.swap.map[slot_of(machine, cached=False)] += 1


def free_a_used_slot(machine: OpenMachine) -> None:
    """Let a slot that an entry names go."""
    machine.kernel.swap.map[slot_of(machine, cached=False)] = 0


def cache_the_wrong_page(machine: OpenMachine) -> None:
    """Let the swap cache name a page that knows nothing of it."""
    machine.kernel.swap.cache_pfn[slot_of(machine, cached=False)] = some_page(machine.mem)


def say_too_little(machine: OpenMachine) -> None:
    """Forget to say that a page came into use."""
    machine.kernel.taken(1)


FAULTS = {
    "conservation: a page lost": (lose_a_page, "1 pages are in no place, not 0"),
    "conservation: a page in two places": (
        free_a_used_page,
        r"LRU list \d of node 0 meets pfn \d+ that is on a list already",
    ),
    "conservation: a hand-over not told": (say_too_little, "0 pages are in no place, not 1"),
    "buddy: alignment": (shift_a_block, "free blocks not aligned to their size"),
    "buddy: merging": (leave_buddies, "free buddies that did not merge"),
    "buddy: length of a list": (miscount_a_free_list, "not its count"),
    "buddy: free pages of a zone": (miscount_free, "pages are free, counted"),
    "buddy: order of the marks": (mix_up_marks, "do not rise"),
    "lru: flag missing": (flip(PG_lru), "without PG_lru"),
    "lru: flag of another list": (flip(PG_active), "its flags say (in)?active_anon"),
    "lru: flag of a per-cpu list": (flip(PG_pcp), "pages in two places"),
    "lru: counter": (add("node_stat", (0, NR_INACTIVE_ANON)), "nr_inactive_anon is"),
    "rmap: mapcount": (of_mapped("mapcount", 1), r"mapcount is 2, entries differ"),
    "rmap: index": (of_mapped("index", 1), "page has index"),
    "rmap: owner": (of_mapped("mapping", 1), "owner 2 does not map it"),
    "rmap: rss": (add("rss", (1, MM_ANONPAGES)), "mm 1: MM_ANONPAGES is"),
    "rmap: nr_anon_pages": (add("node_stat", (0, NR_ANON_PAGES)), "nr_anon_pages is"),
    "swap: users of a slot": (use_a_slot_twice, r"slot \d+ counts 2 users, 1 entries name it"),
    "swap: slot freed in use": (free_a_used_slot, r"slot \d+ counts 0 users, 1 entries name it"),
    "swap: cache": (cache_the_wrong_page, "which has no PG_swapcache"),
    "swap: flag": (flip(PG_swapcache), "has PG_swapcache but is not in the cache"),
    "swap: nr_swapcached": (add("node_stat", (0, NR_SWAPCACHED)), "nr_swapcached is"),
    "swap: nr_writeback": (add("node_stat", (0, NR_WRITEBACK)), "nr_writeback is"),
    "swap: free slots": (
        lambda machine: machine.kernel.swap.state.__setitem__(SS_FREE, 7),
        "7 of 4095 free",
    ),
}


def checked(main: Any, every: int = 100) -> None:
    """Run with `--check`."""
    options = RunOptions(machine=SPEC, check=True, check_every=every)
    run_machine(Workload(opened(main), "machine"), options, name="w.py")


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_in_a_running_machine_is_reported(name: str):
    """Memory in use, some of it on swap; one thing is broken; the run ends and says what."""
    plant, text = FAULTS[name]

    async def main(machine: OpenMachine) -> None:
        user = await machine.spawn("user")
        area = await user.mmap("9M")
        await user.touch(area, write=True)
        await machine.sleep("2s")
        assert check_machine(machine.kernel) == []
        plant(machine)

    with pytest.raises(InvariantViolation, match=text):
        checked(main)


async def pressed(machine: OpenMachine) -> None:
    """Need more memory than there is, from two processes."""
    users = [await machine.spawn(name, writer) for name in ("a", "b")]
    for user in users:
        await user.wait()


async def writer(process: Any) -> None:
    """Write more than fits, then end."""
    area = await process.mmap("10M")
    await process.touch(area, write=True)
    await process.exit()


def test_requests_that_may_go_below_min_are_not_complained_of():
    """Reclaimers and victims use the reserves; nobody else does."""
    below_min = []

    async def watched(machine: OpenMachine) -> None:
        await pressed(machine)
        below_min.append(sum(zone[0][0] for zone in machine.kernel.nodes[0].bands.entries.values()))

    checked(watched, every=50)
    assert below_min[0] > 0


def test_a_request_that_means_to_cross_its_mark_is_reported(monkeypatch):
    """How far down a request may take a zone is worked out apart from the allocator."""
    real = page_allocator.watermark_floor
    monkeypatch.setattr(page_allocator, "watermark_floor", lambda *given: real(*given) - 1)
    words = r"user-100 may take zone \d down to \d+ free pages with alloc_flags 0x0, and means to"

    async def main(machine: OpenMachine) -> None:
        user = await machine.spawn("user")
        await user.touch(await user.mmap("1M"), write=True)

    with pytest.raises(InvariantViolation, match=words):
        checked(main)


def test_a_request_that_claims_reserves_it_has_no_right_to_is_reported(monkeypatch):
    """Only a task that reclaims may ignore the watermarks."""
    monkeypatch.setattr(page_allocator, "gfp_to_alloc_flags", lambda _: ALLOC_NO_WATERMARKS)
    with pytest.raises(InvariantViolation, match=r"with alloc_flags 0x4, and means to go to -1"):
        checked(pressed)


def test_a_page_asked_for_below_the_mark_is_reported(monkeypatch):
    """A request that does not look at how much is free is found, whatever it means to do."""
    monkeypatch.setattr(page_allocator, "Z_FREE", Z_MANAGED)
    words = r"user-100 asks zone \d for a page: \d+ are free, and it had to stop at \d+"

    async def main(machine: OpenMachine) -> None:
        user = await machine.spawn("user")
        await user.touch(await user.mmap("10M"), write=True)

    with pytest.raises(InvariantViolation, match=words):
        checked(main)


def test_a_violation_ends_the_command_with_status_3(tmp_path, capsys):
    """The user sees what does not hold, when, and how to run it again."""
    path = tmp_path / "w.py"
    path.write_text(
        "from kernelsim.workload import workload\n\n"
        "@workload(machine='tiny-64m')\n"
        "async def main(machine):\n"
        "    machine._machine.mem.zone[0, 6] += 1\n"
    )
    assert cli.exit_status(["run", str(path), "--check"]) == cli.EXIT_OUR_BUG
    err = capsys.readouterr().err
    assert "pages are free, counted" in err
    assert "replay: kernelsim run" in err


def test_looks_can_be_had_more_often(tmp_path, capsys):
    """A fault that comes and goes between two looks of the default is found by closer ones."""
    path = tmp_path / "w.py"
    path.write_text(
        "from kernelsim.workload import workload\n\n"
        "@workload(machine='tiny-64m')\n"
        "async def main(machine):\n"
        "    machine._machine.mem.zone[0, 6] += 1\n"
        "    for _ in range(20):\n"
        "        await machine.sleep(1000)\n"
        "    machine._machine.mem.zone[0, 6] -= 1\n"
    )
    assert cli.exit_status(["run", str(path), "--check"]) == cli.EXIT_DONE
    assert cli.exit_status(["run", str(path), "--check-every", "5"]) == cli.EXIT_OUR_BUG
    assert capsys.readouterr().err.endswith(" --seed 1 --check-every 5\n")


def test_a_record_can_be_kept_without_a_run_directory():
    """`observe` is all a test needs to have contents checked too."""
    machine = OpenMachine(SPEC)
    record = observe(machine.kernel)

    async def main(machine: OpenMachine) -> None:
        user = await machine.spawn("user")
        await user.touch(await user.mmap("1M"), write=True)
        written = record.contents[machine.kernel.processes[user.pid].mm.ctx_id].tokens
        assert int(np.count_nonzero(written)) == 256
        await user.exit()
        assert check_machine(machine.kernel) == []
        assert not record.contents

    machine.run(main)
