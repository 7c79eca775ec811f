"""Render /proc/slabinfo.

Linux: mm/slab_common.c (6.1), text of version 2.1.
"""

from kernelsim.procfs.snapshot import Snapshot

HEADER = (
    "slabinfo - version: 2.1\n"
    "# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab>"
    " : tunables <limit> <batchcount> <sharedfactor>"
    " : slabdata <active_slabs> <num_slabs> <sharedavail>\n"
)


def render_slabinfo(snapshot: Snapshot) -> str:
    """Render /proc/slabinfo; SLUB has no tunables and says 0 for them.

    Source: Linux 6.1 mm/slab_common.c:print_slabinfo_header, :cache_show
    """
    return HEADER + "".join(
        f"{slab.name:<17} {slab.nr_active:6} {slab.nr_objects:6} {slab.size:6} {slab.objects:4} "
        f"{1 << slab.order:4} : tunables {0:4} {0:4} {0:4} "
        f": slabdata {slab.nr_slabs:6} {slab.nr_slabs:6} {0:6}\n"
        for slab in snapshot.slabs
    )
