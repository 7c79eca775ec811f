"""/proc/vmallocinfo: the areas of vmalloc.

Linux: mm/vmalloc.c: vmalloc_info_show, show_purge_info, 6.1.
"""

from kernelsim.procfs.snapshot import Snapshot, VmallocArea


def render_vmallocinfo(snapshot: Snapshot) -> str:
    """Render the file: a line an area."""
    digits = 16 if snapshot.arch == "x86_64" else 8
    return "".join(f"{_line(area, digits)}\n" for area in snapshot.vmallocinfo)


def _line(area: VmallocArea, digits: int) -> str:
    size = area.end - area.start
    place = f"0x{area.start:0{digits}x}-0x{area.end:0{digits}x} {size:7d}"
    if not area.caller:
        return f"{place} unpurged vm_area"
    vpages = " vpages" if area.has_vpages else ""
    nodes = "".join(f" N{nid}={nr}" for nid, nr in area.pages_of_node.items())
    return f"{place} {area.caller} pages={area.nr_pages} vmalloc{vpages}{nodes}"
