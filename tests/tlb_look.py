"""A look into a TLB."""

from kernelsim.hw.tlb import TLB_TAG_SHIFT, Tlb


def in_tlb(tlb: Tlb, asid: int, vpn: int) -> bool:
    """Tell whether a page's translation is in a TLB."""
    ways = tlb.tag[vpn & (tlb.tag.shape[0] - 1)]
    return bool((ways == asid << TLB_TAG_SHIFT | vpn).any())
