"""How many pages may be dirty: recorded figures and the corners of the formulas."""

import attrs
import pytest

from kernelsim.config.machine_file import load_machine, machine_from_toml
from kernelsim.config.zones import ZoneType
from kernelsim.machine import Machine
from kernelsim.mm.core.mem import Z_FREE, Z_TYPE_INDEX
from kernelsim.mm.core.vmstat import NR_ACTIVE_FILE, NR_DIRTY, NR_INACTIVE_FILE, NR_WRITEBACK
from kernelsim.mm.file.dirty_limits import (
    DirtyLimits,
    domain_dirty_limits,
    global_dirty_limits,
    global_dirtyable_memory,
    node_dirty_ok,
)
from kernelsim.mm.page.phys_mem import PhysMem

HIGHMEM = {"name": "high", "arch": "i386", "node": [{"memory": "1G", "cpus": "0"}]}


@pytest.fixture
def phys() -> PhysMem:
    """Return the memory of a machine of two nodes."""
    return Machine(load_machine("numa-2x4g")).kernel.phys


def write(phys: PhysMem, **settings: int) -> None:
    """Set tunables."""
    phys.tunables.now = attrs.evolve(phys.tunables.now, **settings)


def test_shares_of_available_memory(phys):
    """10 % and 20 % of 100000 pages: the percentage is cut to 1/4096 first, as the kernel does."""
    assert domain_dirty_limits(phys, 100_000) == DirtyLimits(9985, 19995)


def test_bytes_replace_the_share(phys):
    """Limits in bytes are rounded up to pages and do not depend on the memory."""
    write(phys, vm_dirty_bytes=4097, vm_dirty_background_bytes=1)
    assert domain_dirty_limits(phys, 5) == DirtyLimits(1, 2)


def test_background_is_below_the_limit(phys):
    """A background limit that is not below the other becomes half of it."""
    write(phys, vm_dirty_ratio=10, vm_dirty_background_ratio=50)
    assert domain_dirty_limits(phys, 40_960) == DirtyLimits(2045, 4090)


def test_dirtyable_memory_is_free_and_file_pages(phys):
    """What may be dirty: free pages but the reserves, and file pages on both lists; never 0."""
    free = int(phys.mem.zone[:, Z_FREE].sum())
    phys.totalreserve_pages = 1000
    phys.mem.node_stat[1, NR_INACTIVE_FILE] += 30
    phys.mem.node_stat[0, NR_ACTIVE_FILE] += 4
    file = int(phys.mem.node_stat[:, [NR_INACTIVE_FILE, NR_ACTIVE_FILE]].sum())
    assert global_dirtyable_memory(phys) == free - 1000 + file + 1
    phys.totalreserve_pages = free + 1
    assert global_dirtyable_memory(phys) == file + 1


def test_high_memory_is_not_dirtyable():
    """Pages of high memory count only if vm.highmem_is_dirtyable says so."""
    phys = Machine(machine_from_toml(HIGHMEM)).kernel.phys
    without = global_dirty_limits(phys).thresh
    write(phys, vm_highmem_is_dirtyable=1)
    highmem = phys.zone_types.index(ZoneType.ZONE_HIGHMEM)
    high = int(phys.mem.zone[phys.mem.zone[:, Z_TYPE_INDEX] == highmem, Z_FREE].sum())
    assert high
    assert without < global_dirty_limits(phys).thresh


def test_a_node_has_its_share(phys):
    """A node is within its limit up to dirty_ratio of its own memory, written pages included."""
    write(phys, vm_dirty_ratio=1)
    stat = phys.mem.node_stat[1]
    stat[NR_DIRTY], stat[NR_WRITEBACK] = 4000, 4000
    assert node_dirty_ok(phys, 1)
    stat[NR_DIRTY] = 8000
    assert not node_dirty_ok(phys, 1)
    assert node_dirty_ok(phys, 0)
