"""Memory policies as system calls: what is allocated where, errors, splits, statistics."""

import errno

import pytest

from kernelsim.errors import SyscallError
from kernelsim.mm.core.vmstat import NR_FILE_PAGES, NUMA_STAT_NAMES
from tests.small_machine import PAGE, run, small_machine

TWO = ("0", "1")
THREE = ("0", "1", "2")


def spec(cpus=TWO, **more):
    """Describe a machine of several nodes whose addresses are always the same."""
    fixed = {"kernel.randomize_va_space": 0, **more.pop("sysctl", {})}
    return small_machine(cpus=cpus, sysctl=fixed, **more)


async def nodes_of(process, region):
    """Return the node of each page of a region, None for a page that is not there."""
    addresses = [region.address + PAGE * page for page in range(region.length // PAGE)]
    told = await process.syscall("move_pages", 0, addresses)
    return [nid if nid >= 0 else None for nid in told.status.tolist()]


def numa(machine, nid):
    """Return numa_hit and its like of a node, by name."""
    rows = machine.mem.numa_stat[machine.mem.zone[:, 0] >= 0]
    per_node = rows.reshape(len(machine.kernel.nodes), -1, rows.shape[1])[nid].sum(axis=0)
    return dict(zip(NUMA_STAT_NAMES, per_node.tolist(), strict=True))


async def fails(process, number, name, *arguments, **fields):
    """Expect a call to fail with an errno."""
    with pytest.raises(SyscallError) as error:
        await process.syscall(name, *arguments, **fields)
    assert errno.errorcode[number] == errno.errorcode[error.value.errno]


@pytest.mark.mission("P9")
@pytest.mark.parametrize("burst_pages", [1, 512])
@pytest.mark.parametrize("is_of_task", [True, False])
def test_interleaved_pages_alternate_by_their_place(burst_pages, is_of_task):
    """Each page goes to the node that its page number chooses, in whatever order they come."""

    async def main(machine):
        process = await machine.spawn("p", cpu=0)
        region = await process.mmap(PAGE * 64)
        if is_of_task:
            await process.syscall("set_mempolicy", "interleave", "0-1")
        else:
            await process.syscall("mbind", region, "interleave", "0-1")
        before = [numa(machine, nid) for nid in (0, 1)]
        await process.touch(region, write=True, stride=2 * PAGE)
        await process.touch(region, write=True)
        first = region.address // PAGE % 2
        assert [(first + page) % 2 for page in range(64)] == await nodes_of(process, region)
        after = [numa(machine, nid) for nid in (0, 1)]
        gained = [
            {name: now[name] - then[name] for name in now}
            for then, now in zip(before, after, strict=True)
        ]
        assert [32, 32] == [each["numa_local"] + each["numa_other"] for each in gained]
        assert [32, 32] == [each["numa_interleave"] for each in gained]
        assert [32, 32] == [each["numa_hit"] for each in gained]
        assert (gained[0]["numa_other"], gained[1]["numa_local"]) == (0, 0)

    # One page first, so that its page tables are there.
    run(spec(), _with_tables(main), burst_pages=burst_pages)


def _with_tables(main):
    """Have a process that has run before, on the node where page tables are to come from."""

    async def warmed(machine):
        spawn = machine.spawn

        async def warm(*args, **options):
            process = await spawn(*args, **options)
            await process.touch(await process.mmap(PAGE), write=True)
            return process

        machine.spawn = warm
        await main(machine)

    return warmed


def test_bursts_and_messages_interleave_alike():
    """Counters, times and places are the same whether pages come one by one or in bursts."""

    async def main(machine):
        process = await machine.spawn("p", cpu=0, mempolicy="interleave:0,2")
        region = await process.mmap("6M")
        await process.syscall("mbind", region, "interleave", "0-2")
        await process.touch(region, write=True)
        await process.touch(await process.mmap("2M"), write=True)
        stack = process.stack("64K")
        await process.touch_pages([stack.address // PAGE + n for n in range(8)], [1] * 8)
        return machine.now_ns, machine.mem.numa_stat.tolist(), machine.vmstat

    one, other = [run(spec(THREE), main, burst_pages=pages).result for pages in (1, 512)]
    assert one == other


def test_page_tables_of_an_interleaved_task_take_turns():
    """Requests without a mapping go to one node after the other, wherever their pages lie."""

    async def main(machine):
        process = await machine.spawn("p", cpu=0)
        await process.syscall("set_mempolicy", "interleave", "0-1")
        answer = await process.syscall("get_mempolicy", node=True)
        assert answer.node == 0
        before = [int(each) for each in machine.mem.numa_stat.sum(axis=0)]
        region = await process.mmap("16M")
        await process.touch(region, write=True, stride="2M")
        after = [int(each) for each in machine.mem.numa_stat.sum(axis=0)]
        gained = dict(
            zip(NUMA_STAT_NAMES, (b - a for a, b in zip(before, after, strict=True)), strict=True)
        )
        assert gained["numa_interleave"] == gained["numa_hit"] > 16
        answer = await process.syscall("get_mempolicy", node=True)
        assert answer.node == (gained["numa_interleave"] - 8) % 2

    run(spec(memory="64M"), main)


@pytest.mark.mission("P9")
def test_preferred_many_takes_its_nodes_then_any_and_does_not_wait():
    """All of its nodes are used before another one is; nothing is reclaimed for them."""

    async def main(machine):
        process = await machine.spawn("p", cpu=0, mempolicy="preferred_many:1-2")
        region = await process.mmap("34M")
        await process.touch(region, write=True)
        nodes = await nodes_of(process, region)
        others = nodes.index(0)
        assert others > 24 * 256  # most of two nodes of 16 MiB
        assert {1, 2} == set(nodes[:others])
        assert process.stats.reclaim_ns == 0 == process.stats.swap_pages

    run(spec(THREE, memory="16M"), main)


def test_a_home_node_is_asked_first():
    """Of a bound mapping; it goes with the policy of the mapping only."""

    async def main(machine):
        process = await machine.spawn("p", cpu=0)
        region = await process.mmap(PAGE * 8)
        await fails(process, errno.ENOENT, "set_mempolicy_home_node", region, 1)
        await process.syscall("mbind", region, "bind", "0-1")
        await process.syscall("set_mempolicy_home_node", region, 1)
        await process.touch(region, write=True)
        assert [1] * 8 == await nodes_of(process, region)
        await fails(process, errno.EINVAL, "set_mempolicy_home_node", region, 7)
        await process.syscall("mbind", region, "interleave", "0-1")
        await fails(process, errno.EOPNOTSUPP, "set_mempolicy_home_node", region, 1)

    run(spec(), main)


def test_a_local_mapping_in_a_bound_task():
    """The policy of the mapping holds, not that of the task; default gives it back."""

    async def main(machine):
        process = await machine.spawn("p", cpu=0, mempolicy="bind:1")
        local, rest = [await process.mmap(PAGE * 4) for _ in range(2)]
        await process.syscall("mbind", local, "local")
        for region in (local, rest):
            await process.touch(region, write=True)
        assert [0] * 4 == await nodes_of(process, local)
        assert [1] * 4 == await nodes_of(process, rest)
        await process.syscall("mbind", local, "default")
        await process.madvise_dontneed(local)
        await process.touch(local, write=True)
        assert [1] * 4 == await nodes_of(process, local)

    run(spec(), main)


def test_mappings_split_and_merge_by_their_policies():
    """A policy in the middle makes three; the same all over makes one again."""

    async def main(machine):
        process = await machine.spawn("p")
        region = await process.mmap(PAGE * 9)
        middle = type(region)(region.address + 3 * PAGE, 3 * PAGE)

        def policies():
            lines = [line.partition(" ") for line in process.proc("numa_maps").splitlines()]
            first, end = region.address, region.address + region.length
            return [policy for at, _, policy in lines if first <= int(at, 16) < end]

        assert ["default"] == policies()
        await process.syscall("mbind", middle, "bind", "1", static=True)
        assert ["default", "bind=static:1", "default"] == policies()
        await process.syscall("mbind", region, "preferred", "0")
        assert ["prefer:0"] == policies()
        await process.syscall("mbind", middle, "preferred_many", [0, 1])
        assert ["prefer:0", "prefer (many):0-1", "prefer:0"] == policies()
        await process.syscall("mbind", region, "default")
        assert ["default"] == policies()

    run(spec(), main)


def test_too_many_mappings_leave_all_as_they_are():
    """Mbind in the middle needs two more: ENOMEM, and no policy."""

    async def main(machine):
        process = await machine.spawn("p")
        region = await process.mmap(PAGE * 9)
        middle = type(region)(region.address + 3 * PAGE, 3 * PAGE)
        count = len(process.proc("maps").splitlines())
        machine.sysctl("vm.max_map_count", count + 1)
        await fails(process, errno.ENOMEM, "mbind", middle, "bind", 1)
        assert count == len(process.proc("maps").splitlines())
        machine.sysctl("vm.max_map_count", count + 2)
        await process.syscall("mbind", middle, "bind", 1)
        assert count + 2 == len(process.proc("maps").splitlines())

    run(spec(), main)


@pytest.mark.parametrize(
    ("mode", "nodes", "flags"),
    [
        ("default", [0], {}),
        ("local", [0], {}),
        ("local", [], {"static": True}),
        ("preferred", [], {"relative": True}),
        ("bind", [], {}),
        ("interleave", [], {}),
        ("preferred_many", [], {}),
        ("bind", [5], {}),  # no memory there
        ("bind", [2000], {}),  # above MAX_NUMNODES
        ("bind", [0], {"static": True, "relative": True}),
    ],
)
def test_policies_that_cannot_be(mode, nodes, flags):
    """EINVAL from both calls, and the policies stay as they were."""

    async def main(machine):
        process = await machine.spawn("p", mempolicy="preferred:1")
        region = await process.mmap(PAGE * 4)
        await process.syscall("mbind", region, "bind", "0")
        await fails(process, errno.EINVAL, "set_mempolicy", mode, nodes, **flags)
        await fails(process, errno.EINVAL, "mbind", region, mode, nodes, **flags)
        task = await process.syscall("get_mempolicy")
        mapping = await process.syscall("get_mempolicy", address=region.address)
        assert ("preferred", (1,)) == (task.mode, task.nodes)
        assert ("bind", (0,)) == (mapping.mode, mapping.nodes)

    run(spec(), main)


def test_what_get_mempolicy_tells():
    """Of the task, of a mapping, of a page; nodes as they were given where flags keep them."""

    async def main(machine):
        process = await machine.spawn("p", cpu=0)
        region = await process.mmap(PAGE * 4)
        answer = await process.syscall("get_mempolicy")
        assert ("default", ()) == (answer.mode, answer.nodes)
        assert (0, 1, 2) == (await process.syscall("get_mempolicy", allowed=True)).nodes
        await process.syscall("set_mempolicy", "interleave", [1, 4], relative=True)
        answer = await process.syscall("get_mempolicy")
        assert ("interleave", 1 << 14, (1, 4)) == (answer.mode, answer.flags, answer.nodes)
        await process.syscall("set_mempolicy", "preferred")
        assert "local" == (await process.syscall("get_mempolicy")).mode
        await process.syscall("mbind", region, "bind", 2)
        page = region.address + 2 * PAGE
        answer = await process.syscall("get_mempolicy", address=page, node=True)
        assert ("bind", 0) == (answer.mode, answer.node)  # the zero page, of the first node
        await process.touch(region, write=True)
        assert 2 == (await process.syscall("get_mempolicy", address=page, node=True)).node
        await fails(process, errno.EFAULT, "get_mempolicy", address=PAGE)
        await fails(process, errno.EINVAL, "get_mempolicy", node=True)
        await fails(process, errno.EINVAL, "get_mempolicy", node=True, allowed=True)

    run(spec(THREE), main)


def test_relative_nodes_are_positions():
    """The second and the fifth of three nodes are both the second."""

    async def main(machine):
        process = await machine.spawn("p", cpu=0, mempolicy="bind=relative:1,4")
        region = await process.mmap(PAGE * 4)
        await process.touch(region, write=True)
        assert [1] * 4 == await nodes_of(process, region)
        assert "bind=relative:1" in process.proc("numa_maps")

    run(spec(THREE), main)


def test_mbind_of_a_hole():
    """EFAULT, and what is mapped keeps its policy; default may, as long as something is there."""

    async def main(machine):
        process = await machine.spawn("p")
        region = await process.mmap(PAGE * 9)
        hole = type(region)(region.address + 3 * PAGE, 3 * PAGE)
        await process.munmap(hole)
        await fails(process, errno.EFAULT, "mbind", region, "bind", 1)
        assert "bind" not in process.proc("numa_maps")
        await process.syscall("mbind", region, "default")
        await fails(process, errno.EFAULT, "mbind", hole, "default")
        odd = type(region)(region.address + 1, PAGE)
        await fails(process, errno.EINVAL, "mbind", odd, "bind", 1)
        await process.syscall("mbind", type(region)(region.address, 0), "bind", 1)

    run(spec(), main)


def test_files_that_an_interleaved_task_reads_are_spread():
    """Pages of the page cache take turns, too, in whatever windows they are read."""

    async def main(machine):
        process = await machine.spawn("p", cpu=0, mempolicy="interleave:0-1")
        fd = await process.open("/data")
        await process.read(fd, "1M")
        return machine.mem.node_stat[:, NR_FILE_PAGES].tolist()

    on_nodes = run(spec(files={"/data": "1M"}), main).result
    assert 256 == sum(on_nodes)
    assert abs(on_nodes[0] - on_nodes[1]) <= 16
