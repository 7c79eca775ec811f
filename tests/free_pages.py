"""Freeing pages on a machine where nobody else is, for tests."""

from kernelsim.mm.page.pcp_free import drain_full, free_isolated, free_unref_run


def free_unref_pages(mem, cpu, pfns, n):
    """Free single pages, `pfns[:n]`, taking zone->lock as often as it must; return how often."""
    nr_lock_holds = 0
    at, zone, is_isolated = free_unref_run(mem, cpu, pfns, 0, n)
    while zone >= 0:
        if is_isolated:
            free_isolated(mem, zone, int(pfns[at]))
            at += 1
        else:
            drain_full(mem, zone, cpu, pfns, at)
        nr_lock_holds += 1
        at, zone, is_isolated = free_unref_run(mem, cpu, pfns, at, n)
    return nr_lock_holds
