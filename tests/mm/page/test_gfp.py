"""Request masks: what they ask for, and how the kernel writes them."""

import pytest

from kernelsim.config.zones import ZoneType
from kernelsim.mm.core.mem import MIGRATE_MOVABLE, MIGRATE_RECLAIMABLE, MIGRATE_UNMOVABLE
from kernelsim.mm.page.gfp import (
    GFP_HIGHUSER_MOVABLE,
    GFP_KERNEL,
    Gfp,
    gfp_migratetype,
    gfp_to_alloc_flags,
    gfp_zone,
)
from kernelsim.mm.page.page_alloc import ALLOC_HARDER, ALLOC_HIGH
from kernelsim.trace.show import GFP_BITS, show_gfp_flags

UNMOVABLE, MOVABLE, RECLAIMABLE = MIGRATE_UNMOVABLE, MIGRATE_MOVABLE, MIGRATE_RECLAIMABLE
X86_64 = (
    ZoneType.ZONE_DMA,
    ZoneType.ZONE_DMA32,
    ZoneType.ZONE_NORMAL,
    ZoneType.ZONE_MOVABLE,
    ZoneType.ZONE_DEVICE,
)
I386 = (ZoneType.ZONE_DMA, ZoneType.ZONE_NORMAL, ZoneType.ZONE_HIGHMEM, ZoneType.ZONE_MOVABLE)


@pytest.mark.parametrize(
    ("gfp", "x86_64", "i386", "migratetype"),
    [
        (GFP_KERNEL, "Normal", "Normal", UNMOVABLE),
        (GFP_HIGHUSER_MOVABLE, "Movable", "Movable", MOVABLE),
        (Gfp.DMA32, "DMA32", "Normal", UNMOVABLE),
        (Gfp.HIGHMEM, "Normal", "HighMem", UNMOVABLE),
        (Gfp.DMA, "DMA", "DMA", UNMOVABLE),
        (GFP_KERNEL | Gfp.RECLAIMABLE, "Normal", "Normal", RECLAIMABLE),
        (GFP_KERNEL | Gfp.MOVABLE, "Normal", "Normal", MOVABLE),
    ],
)
def test_gfp_bits_name_the_highest_zone_and_the_type(
    gfp: Gfp, x86_64: str, i386: str, migratetype: int
) -> None:
    """A zone the architecture lacks is replaced by Normal."""
    assert X86_64[gfp_zone(gfp, X86_64)].value == x86_64
    assert I386[gfp_zone(gfp, I386)].value == i386
    assert gfp_migratetype(gfp) == migratetype


def test_gfp_masks_read_as_in_the_kernel_log() -> None:
    """Every bit has its name there; the longest combination that fits comes first."""
    combined = {"RECLAIM"}
    names = {f"__GFP_{name}": int(bit) for name, bit in Gfp.__members__.items()}
    assert names == GFP_BITS | {f"__GFP_{name}": int(Gfp[name]) for name in combined}
    text = show_gfp_flags(GFP_HIGHUSER_MOVABLE | Gfp.COMP)
    assert text == "GFP_HIGHUSER_MOVABLE|__GFP_COMP"
    assert show_gfp_flags(GFP_KERNEL) == "GFP_KERNEL"
    assert f"{int(GFP_HIGHUSER_MOVABLE):#x}" == "0x100cca"


def test_alloc_flags_of_requests_that_cannot_sleep() -> None:
    """GFP_ATOMIC may go deeper below min; GFP_KERNEL may only wake kswapd."""
    atomic = Gfp.HIGH | Gfp.ATOMIC | Gfp.KSWAPD_RECLAIM
    assert gfp_to_alloc_flags(atomic) == ALLOC_HIGH | ALLOC_HARDER | 0x800
    assert gfp_to_alloc_flags(GFP_KERNEL) == 0x40 | 0x800
