"""The Mem-Info block: which nodes and zones it shows, and what of them."""

import attrs
import pytest

from kernelsim.mm.core.lruvec import LV_KSWAPD_FAILURES
from kernelsim.mm.core.mem import Z_FREE, Z_WATERMARK_BOOST
from kernelsim.mm.page.page_alloc import rmqueue
from kernelsim.mm.reclaim.show_mem import ShowMem, show_mem
from tests.small_machine import OpenMachine, small_machine


def shown(machine, **more):
    """Return what a machine's log would show."""
    kernel = machine.kernel
    return ShowMem(
        **{
            "phys": kernel.phys,
            "swap": kernel.swap,
            "lruvec": kernel.lruvec,
            "cpu": 0,
            "highest_zoneidx": len(kernel.phys.zone_types) - 1,
            "nodemask": None,
            "is_numa": kernel.spec.is_numa,
            "hugepage_kb": kernel.spec.hugepage_kb,
            **more,
        }
    )


def lines_of(machine, start, **more):
    """Return the lines of a machine's block that begin so."""
    return [line for line in show_mem(shown(machine, **more)) if line.startswith(start)]


def test_a_nodemask_leaves_out_the_other_nodes():
    """Sums are of the machine all the same."""
    machine = OpenMachine(small_machine(cpus=("0", "1")))
    everything = show_mem(shown(machine))
    assert [line.split()[1] for line in everything if " active_anon:" in line[:20]] == ["0", "1"]
    of_one = show_mem(shown(machine, nodemask=(1,)))
    assert {line.split()[1] for line in of_one if line.startswith("Node ")} == {"1"}
    free = int(machine.mem.zone[:, Z_FREE].sum())
    assert f" free:{free} free_pcp:0 free_cma:0" in of_one


def test_zones_above_what_the_request_could_use_are_left_out():
    """A request for the lowest zone hears of that zone only."""
    machine = OpenMachine(small_machine(memory="64M"))
    assert len(lines_of(machine, "lowmem_reserve[]:")) == 2
    assert len(lines_of(machine, "lowmem_reserve[]:", highest_zoneidx=0)) == 1
    assert len(lines_of(machine, "Node 0 DMA32", highest_zoneidx=0)) == 0


def test_boost_counts_in_the_watermarks():
    """As in /proc/zoneinfo, min, low and high are what must be kept now."""
    machine = OpenMachine(small_machine())
    mem = machine.mem
    before = lines_of(machine, "Node 0 DMA free")[0]
    mem.zone[0, Z_WATERMARK_BOOST] = 512
    after = lines_of(machine, "Node 0 DMA free")[0]
    figures = [
        {word.partition(":")[0]: word.partition(":")[2] for word in line.split()}
        for line in (before, after)
    ]
    for mark in ("boost", "min", "low", "high"):
        kb = [int(each[mark].removesuffix("kB")) for each in figures]
        assert kb[1] - kb[0] == 2048


def test_free_blocks_by_order_and_type():
    """Each order has its number; those with some name the migratetypes, and kB sum up."""
    machine = OpenMachine(small_machine())
    mem = machine.mem
    assert rmqueue(mem, 0, 0, 1)
    line = lines_of(machine, "Node 0 DMA: ")[0]
    words = line.partition(": ")[2].partition(" = ")
    assert words[2] == f"{mem.zone[0, Z_FREE] * 4}kB"
    blocks = [word for word in words[0].split() if "*" in word]
    assert [int(block.split("*")[1][:-2]) for block in blocks] == [4 << n for n in range(11)]
    assert sum(int(b.split("*")[0]) * int(b.split("*")[1][:-2]) for b in blocks) == (
        mem.zone[0, Z_FREE] * 4
    )
    assert "1*4kB (M) " in line
    assert "0*4kB (" not in show_mem(shown(OpenMachine(small_machine())))


@pytest.mark.parametrize(("failures", "word"), [(15, "no"), (16, "yes")])
def test_a_node_that_kswapd_gave_up(failures, word):
    """After 16 runs that got nothing the node counts as unreclaimable."""
    machine = OpenMachine(small_machine())
    machine.kernel.lruvec[0, LV_KSWAPD_FAILURES] = failures
    [line] = lines_of(machine, "Node 0 active_anon")
    assert line.endswith(f" all_unreclaimable? {word}")


def test_a_32_bit_kernel_names_no_nodes_of_zones():
    """Its high memory is counted, and its huge pages are of 4 MiB."""
    machine = OpenMachine(small_machine(arch="i386", memory="1G"))
    lines = show_mem(shown(machine))
    assert any(line.startswith("DMA free:") for line in lines)
    assert any(line.startswith("HighMem: ") for line in lines)
    assert any(line.endswith("hugepages_size=4096kB") for line in lines)
    high = (1024 - 896) * 256
    assert f"{high} pages HighMem/MovableOnly" in lines


def test_swap_is_shown_in_kb():
    """What is free of it, and all of it without its header."""
    machine = OpenMachine(small_machine(swap="1M"))
    lines = show_mem(attrs.evolve(shown(machine)))
    assert ["Free swap  = 1020kB", "Total swap = 1020kB"] == [
        line for line in lines if "swap =" in line or "swap  =" in line
    ]
