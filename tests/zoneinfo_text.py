"""Write zoneinfo texts as kernels of several ages print them, for tests of what reads them."""

TODAY = {
    "counters": "      ",
    "scanned": False,
    "unreclaimable": "node_unreclaimable",
    "boost": True,
}
BEFORE_4_8 = {
    "counters": "    ",
    "scanned": True,
    "unreclaimable": "all_unreclaimable",
    "boost": False,
}

# free, min, low, high, spanned, present, managed, protection, start_pfn: figures of real machines
THP = {  # a kernel with huge pages, vm.min_free_kbytes = 67584
    "DMA": (3975, 33, 41, 49, 4095, 3999, 3977, (0, 3828, 7894, 7894, 7894), 1),
    "DMA32": (500000, 8178, 10222, 12266, 1044480, 1011520, 995127, (0, 0, 4065, 4065, 4065), 4096),
    "Normal": (300000, 8684, 10855, 13026, 1081344, 1081344, 1042033, (0, 0, 0, 0, 0), 1048576),
}
OLD = {  # 3.13, vm.min_free_kbytes = 67584
    "DMA": (3959, 32, 40, 48, 4095, 3984, 3963, (0, 3224, 7925, 7925), 1),
    "DMA32": (800000, 6856, 8570, 10284, 1044480, 845172, 825415, (0, 0, 4701, 4701), 4096),
    "Normal": (600000, 10006, 12507, 15009, 1236992, 1236992, 1203593, (0, 0, 0, 0), 1048576),
}
PPC = {  # ppc64: all memory is ZONE_DMA
    "DMA": (3124, 1450, 1812, 2174, 131072, 131072, 129000, (0, 0, 0, 0), 0),
}
ARM = {  # 32-bit ARM
    "Normal": (38277, 696, 870, 1044, 122368, 121412, 121412, (0, 4038, 4038), 524288),
    "HighMem": (13452, 126, 311, 496, 136448, 129238, 129238, (0, 0, 0), 646656),
}


def zoneinfo(zones, form=None, *, nid=0, cpus=(0,)):
    """Return the text of a node's zones."""
    form = TODAY if form is None else form
    return "".join(
        zone_text(name, figures, form, nid=nid, cpus=cpus, is_first=index == 0)
        for index, (name, figures) in enumerate(zones.items())
    )


def zone_text(name, figures, form, *, nid, cpus, is_first):
    """Return the lines of one zone."""
    free, low, mid, high, spanned, present, managed, protection, start_pfn = figures
    lines = [f"Node {nid}, zone {name:>8}"]
    if is_first and not form["scanned"]:
        lines += ["  per-node stats", "      nr_inactive_file 50", "      nr_active_file 20"]
    lines.append(f"  pages free     {free}")
    lines += ["        boost    0"] if form["boost"] else []
    lines += [f"        min      {low}", f"        low      {mid}", f"        high     {high}"]
    lines += ["        scanned  0"] if form["scanned"] else []
    lines += [f"        spanned  {spanned}", f"        present  {present}"]
    lines += [f"        managed  {managed}"]
    lines += [f"        protection: ({', '.join(map(str, protection))})"]
    if not present:
        return "".join(f"{line}\n" for line in lines)
    lines += [f"{form['counters']}nr_free_pages {free}", "  pagesets"]
    for cpu in cpus:
        lines += [f"    cpu: {cpu}", "              count: 0", "              high:  0"]
        lines += ["              batch: 1", "  vm stats threshold: 4"]
    lines += [f"  {form['unreclaimable']}:  0", f"  start_pfn:           {start_pfn}"]
    lines += ["  inactive_ratio:    1"] if form["scanned"] else []
    return "".join(f"{line}\n" for line in lines)
