"""The memory blocks a machine boots with."""

import attrs

from kernelsim.config.machine_file import load_machine
from kernelsim.mm.boot.memory_block import memory_dev_init


def test_a_hole_has_no_memory_blocks() -> None:
    """8 GiB with a hole below 4 GiB are 64 blocks of 128 MiB; the first holds two zones."""
    memory = memory_dev_init(load_machine("numa-2x4g"))

    assert 8 << 30 == memory.size_bytes * len(memory.blocks)
    assert [*range(24), *range(32, 72)] == [block.index for block in memory.blocks]
    # Rows of zones: DMA, DMA32, Normal … of the first node.
    assert [None, 1, 2] == [memory.blocks[n].zone for n in (0, 1, 24)]


def test_flatmem_has_no_memory_blocks() -> None:
    """What cannot come and go has none in /sys, whatever the architecture."""
    flat = attrs.evolve(load_machine("uma-2g"), memory_model="flatmem")

    assert 0 == memory_dev_init(flat).size_bytes
    assert [] == memory_dev_init(flat).blocks
