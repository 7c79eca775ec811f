"""kdamond: watches which parts of processes' memory are used, by sampling accessed bits.

Linux: mm/damon/core.c: kdamond_fn, kdamond_reset_aggregated, kdamond_split_regions, kdamond_usleep;
mm/damon/vaddr.c: damon_va_prepare_access_checks, damon_va_check_accesses, damon_va_update, 6.1.
Each sampling interval it makes one page of each region old, and sees at its end whether the page
was used. Each aggregation interval it tells how often that was, and joins and cuts regions. It runs
on a CPU, and reads page tables under mmap_lock; it ends with the last of its processes.
# Differs from Linux: DAMON takes mmap_lock for up to 32 regions at a time; Linux takes it anew
# for each.
Owns: the regions of its targets.
Interface: `watch` adds a process; `DamonAttrs` says how often it looks.
Units: ns, addresses in bytes.
"""

from typing import Final

import attrs

from kernelsim.actors.alloc.task_struct import release_tasks, take_task_struct
from kernelsim.actors.core.current import Current
from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.core.process_table import ProcessEntry
from kernelsim.actors.core.shared_mm import mmap_lock
from kernelsim.actors.core.task import Task
from kernelsim.actors.tracing import trace
from kernelsim.mm.space.damon import (
    DAMON_MIN_REGION,
    DamonRegion,
    Regions,
    init_regions,
    merge_regions,
    set_regions,
    split_regions,
    three_regions,
)
from kernelsim.mm.space.damon_vaddr import damon_mkold, damon_young
from kernelsim.mm.space.mm_struct import MmStruct
from kernelsim.sim.actor import Actor
from kernelsim.sim.rng import Rng
from kernelsim.trace.damon import damon_aggregated
from kernelsim.units import NS_PER_MS, NS_PER_S, PAGE_SHIFT

REGIONS_AT_ONCE: Final = 32
STRUCT_PAGE_LINES: Final = 1  # what is read beside an entry of each level of page tables


@attrs.frozen(kw_only=True)
class DamonAttrs:
    """How often it looks, and at how many regions of all targets; as damo has them by itself.

    Source: Linux 6.1 include/linux/damon.h:damon_attrs
    """

    sample_ns: int = 5 * NS_PER_MS
    aggr_ns: int = 100 * NS_PER_MS
    ops_update_ns: int = NS_PER_S
    min_nr_regions: int = 10
    max_nr_regions: int = 1000


@attrs.define(eq=False)
class DamonTarget:
    """One process that is watched."""

    process: ProcessEntry
    regions: Regions = attrs.field(factory=list)

    def is_valid(self) -> bool:
        """Tell whether there is such a process."""
        return not self.process.has_ended()


@attrs.define(eq=False)
class DamonCtx:
    """What one kdamond is to do; its targets keep their numbers when they end."""

    how: DamonAttrs
    rng: Rng
    targets: list[DamonTarget] = attrs.field(factory=list)
    last_nr_regions: int = 0

    def damon_rand(self, low: int, high: int) -> int:
        """Return a number of low … high - 1."""
        return low + self.rng.below(high - low)

    def nr_regions(self) -> int:
        """Return the number of regions of all targets."""
        return sum(len(target.regions) for target in self.targets)

    def size_limit(self) -> int:
        """Return the most bytes that a region may get by merging.

        Source: Linux 6.1 mm/damon/core.c:damon_region_sz_limit
        """
        size = sum(region.size for target in self.targets for region in target.regions)
        return max(size // self.how.min_nr_regions, DAMON_MIN_REGION)

    def merge(self, threshold: int, size_limit: int) -> None:
        """Join neighbours that are used about as often.

        Source: Linux 6.1 mm/damon/core.c:kdamond_merge_regions
        """
        for target in self.targets:
            target.regions = merge_regions(target.regions, threshold, size_limit)

    def split(self) -> None:
        """Cut each region in two, or in three if that has found nothing new lately.

        Source: Linux 6.1 mm/damon/core.c:kdamond_split_regions
        """
        nr_regions, most = self.nr_regions(), self.how.max_nr_regions
        if nr_regions > most // 2:
            return
        is_still = self.last_nr_regions == nr_regions and nr_regions < most // 3
        for target in self.targets:
            target.regions = split_regions(target.regions, 3 if is_still else 2, self.damon_rand)
        self.last_nr_regions = nr_regions


def watch(kernel: Kernel, process: ProcessEntry, how: DamonAttrs) -> "Kdamond":
    """Add a process to what kdamond watches; the first one starts it, and says how.

    A process that is watched already goes on being so.
    """
    engine = kernel.engine
    running = [actor for actor in engine.actors.values() if isinstance(actor, Kdamond)]
    for actor in running:
        if not actor.has_ended:
            actor.add(process)
            return actor
    pid, kernel.next_pid = kernel.next_pid, kernel.next_pid + 1
    task = Task(engine, f"kdamond.{len(running)}", pid, kernel.cpus)
    kernel.kthreads.append(task)
    thread = Kdamond(kernel, task, how)
    engine.spawn(thread)
    thread.add(process)
    return thread


class Kdamond(Actor):
    """The actor of the thread.

    Args:
        kernel: The machine.
        task: Its thread; may run on all CPUs.
        how: What it was started with.

    Attributes:
        has_ended: Its last target has gone, and so does it.
    """

    def __init__(self, kernel: Kernel, task: Task, how: DamonAttrs) -> None:
        super().__init__(task.name)
        self.has_ended = False
        self._kernel = kernel
        self._task = task
        self._current = Current(kernel, task)
        self._ctx = DamonCtx(how, kernel.engine.rng("damon"))
        levels = kernel.pool.levels + STRUCT_PAGE_LINES
        self._look_ns = levels * kernel.spec.latency.cache_line_ns

    def add(self, process: ProcessEntry) -> None:
        """Watch one more process, unless it is watched already."""
        if all(target.process is not process for target in self._ctx.targets):
            self._ctx.targets.append(DamonTarget(process))

    def seen(self, pid: int) -> tuple[tuple[int, int, int, int], ...]:
        """Return the regions of a process: start, end, accesses of the last interval, age."""
        return tuple(
            (region.start, region.end, region.last_nr_accesses, region.age)
            for target in self._ctx.targets
            if target.process.pid == pid
            for region in target.regions
        )

    async def run(self) -> None:
        """Sample until no process is left.

        Source: Linux 6.1 mm/damon/core.c:kdamond_fn
        """
        ctx, how = self._ctx, self._ctx.how
        await self._task.get_cpu(wakeup=True)
        await take_task_struct(self._current)
        size_limit = 0
        aggregated_ns = updated_ns = self._coarse_ns()
        while any(target.is_valid() for target in ctx.targets):
            if any(target.is_valid() and not target.regions for target in ctx.targets):
                await self._update_regions(only_new=True)
                size_limit = ctx.size_limit()
            await self._prepare_access_checks()
            async with self._task.off_cpu():
                await self.engine.sleep(how.sample_ns)
            max_nr_accesses = await self._check_accesses()
            now_ns = self._coarse_ns()
            if now_ns - aggregated_ns >= how.aggr_ns:
                aggregated_ns = now_ns
                ctx.merge(max_nr_accesses // 10, size_limit)
                self._reset_aggregated()
                ctx.split()
                self.progress()
            if now_ns - updated_ns >= how.ops_update_ns:
                updated_ns = now_ns
                await self._update_regions(only_new=False)
                size_limit = ctx.size_limit()
        self.has_ended = True
        await release_tasks(self._current, (self._task,))
        await self._task.put_cpu()

    def _coarse_ns(self) -> int:
        """Return the time of the last tick.

        Source: Linux 6.1 mm/damon/core.c:damon_check_reset_time_interval
        """
        tick_ns = self._kernel.spec.latency.timer_tick_ns
        return self.engine.now_ns // tick_ns * tick_ns

    def _reset_aggregated(self) -> None:
        """Tell what was counted, and count anew.

        Source: Linux 6.1 mm/damon/core.c:kdamond_reset_aggregated
        """
        for number, target in enumerate(self._ctx.targets):
            nr_regions = len(target.regions)
            for region in target.regions:
                seen = region.nr_accesses
                trace(
                    self,
                    damon_aggregated(
                        number, nr_regions, region.start, region.end, seen, region.age
                    ),
                )
                region.last_nr_accesses, region.nr_accesses = seen, 0

    async def _update_regions(self, *, only_new: bool) -> None:
        """Divide what new targets have mapped into regions, or fit those there are to it.

        Source: Linux 6.1 mm/damon/vaddr.c:damon_va_init, :damon_va_update
        """
        for target in self._ctx.targets:
            if not target.is_valid() or (only_new and target.regions):
                continue
            mm = target.process.mm
            async with mmap_lock(self._current, mm, write=False):
                mappings = [(vma.start, vma.end) for vma in mm.map]
                await self._task.compute(len(mappings) * self._kernel.spec.latency.cache_line_ns)
            ranges = three_regions(mappings)
            if ranges is None:
                continue
            if target.regions:
                target.regions = set_regions(target.regions, ranges)
            else:
                target.regions = init_regions(ranges, self._ctx.how.min_nr_regions)

    async def _prepare_access_checks(self) -> None:
        """Make a page of each region old.

        Source: Linux 6.1 mm/damon/vaddr.c:damon_va_prepare_access_checks
        """
        for target in self._ctx.targets:
            if not target.is_valid():
                continue
            mm = target.process.mm
            for regions in groups(target.regions):
                async with mmap_lock(self._current, mm, write=False):
                    for region in regions:
                        region.sampling_addr = self._ctx.damon_rand(region.start, region.end)
                        if self._is_alive(mm):
                            vpn = region.sampling_addr >> PAGE_SHIFT
                            damon_mkold(*self._kernel.space, mm.number, vpn)
                    await self._task.compute(len(regions) * self._look_ns)

    async def _check_accesses(self) -> int:
        """Count the pages that were used since; return how often one was that was used most.

        Source: Linux 6.1 mm/damon/vaddr.c:damon_va_check_accesses
        """
        most = 0
        for target in self._ctx.targets:
            if not target.is_valid():
                continue
            mm = target.process.mm
            last_vpn, was_used = -1, False
            for regions in groups(target.regions):
                async with mmap_lock(self._current, mm, write=False):
                    await self._task.compute(len(regions) * self._look_ns)
                    for region in regions:
                        vpn = region.sampling_addr >> PAGE_SHIFT
                        if vpn != last_vpn:  # else it is the page just looked at
                            was_used = self._is_alive(mm) and damon_young(
                                *self._kernel.space, mm.number, vpn
                            )
                            last_vpn = vpn
                        region.nr_accesses += was_used
                        most = max(most, region.nr_accesses)
        return most

    def _is_alive(self, mm: MmStruct) -> bool:
        """Tell whether an address space still has page tables, and its number."""
        return self._kernel.mms.by_number.get(mm.number) is mm


def groups(regions: Regions) -> list[list[DamonRegion]]:
    """Return regions in groups that are looked at in one go."""
    return [
        regions[first : first + REGIONS_AT_ONCE]
        for first in range(0, len(regions), REGIONS_AT_ONCE)
    ]
