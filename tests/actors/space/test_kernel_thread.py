"""vmalloc, kmap and kmap_atomic in the time of kernel threads."""

import numpy as np
import pytest

from kernelsim.actors.messages.kernel_space import KmapHigh, KunmapHigh, WaitForPkmap
from kernelsim.errors import ConfigError, WorkloadError
from kernelsim.mm.space.highmem import NO_SLOT, Pkmap
from tests.small_machine import free_pages, run, small_machine

HIGH = "GFP_KERNEL | __GFP_HIGHMEM"


def total(machine):
    """Return the free pages, those on per-cpu lists included."""
    return free_pages(machine) + int(machine.mem.pcp_count.sum())


@pytest.mark.mission("V8")
@pytest.mark.parametrize(("arch", "nr_tables"), [("x86_64", 2), ("i386", 1), ("i386pae", 1)])
def test_vmalloc_maps_page_by_page(arch, nr_tables):
    """Its pages and its tables are frames of the zones; vfree gives all back but the tables."""

    async def main(machine):
        before, init_mm = total(machine), machine.kernel.init_mm
        driver = machine.kernel_thread("driver")
        await driver.alloc_pages(0)
        stack = before - total(machine) - len(init_mm.tables.tables)
        kb = 4 * init_mm.nr_vmalloc_pages
        area = await driver.vmalloc("100K")
        assert len(init_mm.tables.tables) == nr_tables
        assert before - total(machine) == stack + 25 + nr_tables
        frames = [init_mm.frame_of(area.address + 4096 * page) for page in range(25)]
        assert frames == area.pfns.tolist()
        assert init_mm.frame_of(area.address + 4096 * 25) is None  # the guard page
        assert f"VmallocUsed: {kb + 100:11} kB" in machine.proc("meminfo")
        lines = machine.proc("vmallocinfo").splitlines()
        second = await driver.vmalloc(1)
        assert second.address == area.address + 26 * 4096
        await driver.vfree(area)
        await driver.vfree(second)
        assert before - total(machine) == stack + nr_tables
        assert "unpurged vm_area" in machine.proc("vmallocinfo")
        return lines[-1].split()

    line = run(small_machine(arch=arch), main).result
    assert line[1:5] == [str(26 * 4096), "driver-100", "pages=25", "vmalloc"]


@pytest.mark.mission("V8")
def test_a_long_list_of_pages_is_itself_vmalloced():
    """More than 512 pages on 64 bits: the list has an area of its own; both go together."""

    async def main(machine):
        driver = machine.kernel_thread("driver")
        await driver.alloc_pages(0)
        stacks = dict(machine.kernel.init_mm.vms)
        area = await driver.vmalloc("3M")
        assert area.array
        assert " vpages" in machine.proc("vmallocinfo")
        assert machine.kernel.init_mm.nr_vmalloc_pages == 4 + 768 + 2
        await driver.vfree(area)
        return machine.kernel.init_mm.vms == stacks, await driver.vmalloc("64M")

    assert run(small_machine(), main).result == (True, None)


@pytest.mark.mission("V8")
@pytest.mark.parametrize(
    ("size", "nr_left", "is_made"),
    [("3M", 0, False), ("2M", 400, False), ("2M", 512, False), ("2M", 513, True)],
    ids=["list of pages", "pages", "page table", "enough"],
)
def test_a_vmalloc_of_a_killed_task_that_gets_too_little_keeps_nothing(size, nr_left, is_made):
    """It ends with memory and answers None: pages, tables and addresses are as they were."""

    async def main(machine):
        driver, init_mm = machine.kernel_thread("driver"), machine.kernel.init_mm
        hoard = await driver.alloc_pages(10**6, "GFP_NOWAIT | __GFP_NOWARN")
        await machine.sleep("1ms")  # kswapd empties the lists of the CPUs
        await driver.alloc_pages(10**6, "GFP_NOWAIT | __GFP_NOWARN")
        await driver.free_pages(hoard[:nr_left])
        areas, nr_tables, pages = dict(init_mm.vms), len(init_mm.tables.tables), total(machine)
        driver._thread._task.killed = True
        area = await driver.vmalloc(size)
        assert (area is not None) is is_made
        if area is not None:
            await driver.vfree(area)
        assert init_mm.vms == areas
        assert pages - total(machine) == len(init_mm.tables.tables) - nr_tables == is_made
        assert init_mm.areas.unpurged()

    run(small_machine(), main, sound=False)


@pytest.mark.mission("V8")
def test_freed_addresses_wait_for_a_flush_of_all_tlbs():
    """They come again behind 32 MiB of them on one CPU; then each CPU has been interrupted."""

    async def main(machine):
        driver, areas = machine.kernel_thread("driver"), machine.kernel.init_mm.areas
        ipis, seen = [], set()
        for _ in range(40):
            area = await driver.vmalloc("1M")
            ipis.append(machine.kernel.cpus[0].state.nr_ipis)
            seen.add(area.address)
            await driver.vfree(area)
        return len(seen), ipis[-1] - ipis[0], areas.nr_lazy

    nr_addresses, nr_ipis, nr_lazy = run(small_machine(), main).result
    assert (nr_addresses, nr_ipis) == (32, 1)
    assert nr_lazy == 8 * 257


@pytest.mark.mission("V8")
def test_without_high_memory_kmap_is_the_direct_map():
    """On 64 bits no slot is needed, and kmap_atomic has no address of its own either."""

    async def main(machine):
        driver = machine.kernel_thread("driver")
        first, second = (await driver.alloc_pages(2, HIGH)).tolist()
        address = await driver.kmap(first)
        assert address == driver.address_of(first) == 0xFFFF_8880_0000_0000 + first * 4096
        await driver.kunmap(first)
        machine.mem.pages.token[first] = 77
        assert await driver.copy_highpage(second, first) == (
            driver.address_of(second), driver.address_of(first),
        )  # fmt: skip
        return int(machine.mem.pages.token[second])

    assert run(small_machine(), main).result == 77


@pytest.mark.mission("V8")
@pytest.mark.parametrize("cpu", [0, 1])
def test_a_copy_of_high_memory_uses_the_next_slots_of_its_cpu(cpu):
    """Low memory needs none, so what is written has the first or the second; then they are free."""

    async def main(machine):
        thread, layout = machine.kernel_thread("t", cpu=cpu), machine.kernel_layout
        [low] = (await thread.alloc_pages(1)).tolist()
        high, other = (await thread.alloc_pages(2, HIGH)).tolist()
        first, second = (layout.fixaddr_top - (68 + 16 * cpu + n) * 4096 for n in (0, 1))
        token = machine.mem.pages.token
        token[low], began_ns = 77, machine.now_ns
        assert await thread.copy_highpage(high, low) == (first, layout.virt(low))
        one_ns, began_ns = machine.now_ns - began_ns, machine.now_ns
        assert await thread.copy_highpage(other, high) == (second, first)
        assert token[other] == token[high] == 77
        return machine.now_ns - began_ns - one_ns

    spec = small_machine(cpus=("0-1",), memory="912M", arch="i386")
    assert run(spec, main).result == 10 + 100  # an entry more to set, one more to flush


@pytest.mark.mission("V8")
def test_kmap_sleeps_until_a_slot_is_given_back():
    """Two tasks wait; each kunmap lets one go on. The flush interrupts both CPUs."""

    async def main(machine):
        holder = machine.kernel_thread("holder", cpu=0)
        slots = machine.kernel_layout.last_pkmap
        pages = (await holder.alloc_pages(slots + 2, HIGH)).tolist()
        assert not any(map(machine.kernel_layout.is_lowmem, pages))
        for page in pages[:slots]:
            await holder.kmap(page)
        got = []

        def waiter(number):
            async def program(_process):
                thread = machine.kernel_thread(f"w{number}", cpu=1)
                await thread.kmap(pages[slots + number])
                got.append((number, machine.now_ns))

            return program

        both = [await machine.spawn(f"p{number}", waiter(number)) for number in range(2)]
        await machine.sleep("1ms")
        assert not got
        ipis = [cpu.state.nr_ipis for cpu in machine.kernel.cpus]
        await holder.kunmap(pages[3])
        await machine.sleep("1ms")
        assert [number for number, _ in got] == [0]
        assert [cpu.state.nr_ipis for cpu in machine.kernel.cpus] == [each + 1 for each in ipis]
        await holder.kunmap(pages[4])
        for process in both:
            await process.wait()
        return [number for number, _ in got]

    spec = small_machine(cpus=("0-1",), memory="912M", arch="i386pae")
    assert run(spec, main).result == [0, 1]


@pytest.mark.mission("V8")
@pytest.mark.parametrize(("arch", "kb", "kept_kb"), [("x86_64", 16, 8 * 4), ("i386", 8, 0)])
def test_each_thread_has_a_stack(arch, kb, kept_kb):
    """Four pages of vmalloc, or two of low memory; a CPU keeps two of those that ended."""

    async def main(machine):
        first = machine.kernel_thread("t0")
        await first.alloc_pages(0)
        before = total(machine)
        threads = [machine.kernel_thread(f"t{number}") for number in range(1, 4)]
        for thread in threads:
            await thread.alloc_pages(0)
        assert f"KernelStack:{4 * kb:12} kB" in machine.proc("meminfo")
        assert before - total(machine) == 3 * kb // 4
        areas = sorted(machine.kernel.init_mm.vms)
        assert len(areas) == (4 if arch == "x86_64" else 0)
        assert not any(address % (kb << 10) for address in areas)
        for thread in threads:
            await thread.stop()
        with pytest.raises(WorkloadError, match="stopped"):
            await threads[0].stop()
        assert before - total(machine) == kept_kb // 4
        again = machine.kernel_thread("t9")
        await again.alloc_pages(0)
        assert before - total(machine) == (kept_kb // 4 or kb // 4)
        return machine.proc("meminfo")

    assert f"KernelStack:{2 * kb:12} kB" in run(small_machine(arch=arch), main).result


async def twice_vfreed(thread):
    """Free the same area two times."""
    area = await thread.vmalloc("1M")
    await thread.vfree(area)
    await thread.vfree(area)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda t: t.vfree(5), "vfree"),
        (lambda t: t.vmalloc("many"), "size"),
        (lambda t: t.kmap(0), "page"),
        (lambda t: t.kmap(1 << 40), "page"),
        (lambda t: t.free_pages(np.zeros((90, 9), np.int64)), "an array of int64, of shape"),
        (lambda t: t.free_pages(np.zeros(1)), "free_pages wants what alloc_pages returned, not an"),
        (lambda t: t.free_pages([1]), r"not \[1\]"),
        (twice_vfreed, "vfree: the area at 0x.* has been freed"),
    ],
)
def test_mistakes_are_named(call, told):
    """One line with the argument and the rule."""

    async def main(machine):
        with pytest.raises((ConfigError, WorkloadError), match=told) as raised:
            await call(machine.kernel_thread("t"))
        assert "\n" not in str(raised.value)

    run(small_machine(), main, sound=False)


def test_only_what_was_allocated_by_a_thread_is_freed_once():
    """Not twice, not a page of a process or of a stack, not one with a slot; another may free."""

    async def main(machine):
        thread, other = machine.kernel_thread("t"), machine.kernel_thread("o")
        pages = await thread.alloc_pages(3, HIGH)
        process = await machine.spawn("p")
        await process.touch(await process.mmap(4096), write=True)
        mapped = (machine.mem.pages.mapcount > 0).nonzero()[0][:1]
        stack = thread._thread._task.stack.pfns
        await thread.kmap(pages[0])
        for wrong in (mapped, stack, pages[[1, 1]], pages, pages[:1], np.array([-1])):
            with pytest.raises(WorkloadError, match="free_pages: "):
                await thread.free_pages(wrong)
        with pytest.raises(ConfigError, match="alloc_pages"):
            await thread.kmap(int(stack[0]))
        await thread.kunmap(pages[0])
        await other.free_pages(pages)
        with pytest.raises(WorkloadError, match="free_pages: "):
            await thread.free_pages(pages[1:2])

    run(small_machine(memory="912M", arch="i386"), main)


def test_more_pages_than_any_machine_has_are_as_many_as_there_are():
    """What may not wait comes back with those that are free."""

    async def main(machine):
        pages = await machine.kernel_thread("t").alloc_pages(10**15, "GFP_NOWAIT | __GFP_NOWARN")
        return len(pages)

    assert 2000 < run(small_machine(), main).result < 4096


def test_what_is_asked_while_a_thread_ends_is_refused():
    """Also a second stop: there is nobody to answer."""

    async def main(machine):
        thread, begun = machine.kernel_thread("t"), []

        async def ends(_process):
            begun.append(thread)
            await thread.stop()

        await thread.alloc_pages(0)
        ending = await machine.spawn("p", ends)
        while not begun:
            await machine.sleep(1)
        with pytest.raises(WorkloadError, match="stopped"):
            await thread.alloc_pages(1)
        with pytest.raises(WorkloadError, match="stopped"):
            await thread.stop()
        await ending.wait()

    run(small_machine(), main)


def test_a_task_does_not_sleep_for_a_slot_that_a_flush_has_emptied():
    """Two slots come free before it waits; another task's flush empties both, and takes one."""

    async def main(machine):
        init_mm = machine.kernel.init_mm
        machine.kernel_thread("t")
        init_mm.pkmap = Pkmap(4)
        keeper = machine.kernel.kernel_space
        for pfn in (11, 12, 13, 14):
            await keeper.ask(KmapHigh(pfn))
        assert await keeper.ask(KmapHigh(15)) == NO_SLOT
        await keeper.ask(KunmapHigh(12))
        await keeper.ask(KunmapHigh(13))
        await keeper.ask(KmapHigh(16))
        assert sorted(init_mm.pkmap.count) == [0, 2, 2, 2]
        await keeper.ask(WaitForPkmap())
        return await keeper.ask(KmapHigh(15))

    assert run(small_machine(memory="912M", arch="i386"), main, sound=False).result != NO_SLOT


def test_of_two_who_give_back_the_same_at_the_same_time_one_is_told():
    """Both ask before either is served: an area, and the slot of a page."""

    async def main(machine):
        threads = [machine.kernel_thread(f"t{cpu}", cpu=cpu) for cpu in (0, 1)]
        area = await threads[0].vmalloc("64K")
        [page] = (await threads[0].alloc_pages(1, HIGH)).tolist()
        await threads[1].kmap(page)
        begin_ns, told = machine.now_ns + 1_000_000, []

        def giver(thread):
            async def program(process):
                for give_back, at_ns in ((thread.vfree, begin_ns), (thread.kunmap, 2 * begin_ns)):
                    await process.sleep(at_ns - machine.now_ns)
                    try:
                        await give_back(area if at_ns == begin_ns else page)
                    except WorkloadError as error:
                        told.append(str(error).partition(" ")[0])

            return program

        both = [await machine.spawn(thread._thread.name, giver(thread)) for thread in threads]
        for process in both:
            await process.wait()
        return told

    spec = small_machine(cpus=("0-1",), memory="912M", arch="i386")
    assert run(spec, main).result == ["vfree:", "kunmap"]


def test_a_page_that_is_not_mapped_cannot_be_unmapped():
    """A page of high memory without a slot."""

    async def main(machine):
        thread = machine.kernel_thread("t")
        [page] = (await thread.alloc_pages(1, HIGH)).tolist()
        assert thread.address_of(page) is None
        with pytest.raises(WorkloadError, match="kunmap"):
            await thread.kunmap(page)
        await thread.free_pages(np.array([page]))

    run(small_machine(memory="912M", arch="i386"), main, sound=False)
