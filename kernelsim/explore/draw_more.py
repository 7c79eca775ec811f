"""Draw processes that some runs have beside those of draw_mix.py: kinds that came later.

Each kind has a random stream of its own, so that the other draws of a seed stay as they were when
a kind is added.
Interface: `draw_more` returns the lines and the kills of a run; `MORE_KINDS` the kinds.
Units: pages; `size` is a text such as "12K".
"""

from collections.abc import Callable, Collection
from typing import Final

import attrs

from kernelsim.explore.draw_mix import FIRST_PID, KINDS
from kernelsim.explore.draw_site import Site, size
from kernelsim.explore.plan import KILL, Fault
from kernelsim.mm.space.vm_flags import PROT_READ, PROT_WRITE
from kernelsim.sim.rng import Rng
from kernelsim.units import PAGE_SIZE
from kernelsim.user.malloc.mallocs import MALLOCS

CHANCE: Final = 8  # of a kind: in one run of so many
KILL_CHANCE: Final = 4  # of its process, to be killed in the middle
SHARES: Final = (4, 8, 8, 16, 32)  # of memory, a process
PAGES_MAX: Final = 512

READ_WRITE: Final = PROT_READ | PROT_WRITE
PROTECTIONS: Final = (0, PROT_READ, PROT_READ, READ_WRITE)
CHANGED_ADVICE: Final = (
    "populate_read", "populate_write", "free", "pageout", "dontneed", "dontneed_locked",
    "willneed", "cold", "wipeonfork", "keeponfork", "dontfork", "dofork", "random", "sequential",
)  # fmt: skip


def remapper(rng: Rng, site: Site) -> list[str]:
    """Change mappings whose pages stay: what may be done with them, how long and where they are."""
    pages, op = site.pages, rng.choice(("mmap", "mmap", "mmapshared", "mmapnr"))
    steps = ["uid:1000"] if rng.chance(1, 4) else []  # whose locked memory is limited
    steps += [f"{op}:a:{size(pages)}", f"touchw:a:0:{size(rng.between(1, pages))}"]
    for _ in range(rng.between(2, 8)):
        change = rng.choice((_protect, _protect, _resize, _resize, _advise, _lock, _limit))
        steps += change(rng, pages)
    return steps


def _piece(rng: Rng, pages: int) -> str:
    """Name a part of the mapping, so that what is done to it splits the mapping."""
    first = rng.below(pages)
    return f"part:p:a:{first * PAGE_SIZE}:{size(rng.between(1, max(1, pages - first)))}"


def _protect(rng: Rng, pages: int) -> list[str]:
    """Change what may be done with a part, and most times allow all again before it is used."""
    steps = [_piece(rng, pages), f"mprotect:p:{rng.choice(PROTECTIONS)}"]
    steps += [_piece(rng, pages), f"mprotect:p:{PROT_READ}"] if rng.chance(1, 3) else []
    if rng.chance(1, 3):
        steps.append(rng.choice(("madvise:p:pageout", "mlock:p", "sleep:1", "forkcow:a:64K:r")))
    if rng.chance(9, 10):
        steps.append(f"mprotect:a:{READ_WRITE}")
    return [*steps, rng.choice(("touchw:a", "touchw:p", "touchr:a", "randw:a:5:40"))]


def _resize(rng: Rng, pages: int) -> list[str]:
    """Grow, shrink or move all of it, or move a part away."""
    if rng.chance(1, 5):
        away = f"mremap:p:{size(rng.between(1, pages))}"
        return [_piece(rng, pages), away, "touchw:p"]
    op = rng.choice(("mremap", "mremap", "mremap", "mremapinplace", "mremapkeep"))
    length = size(pages if op == "mremapkeep" else rng.between(1, 2 * pages))
    access = rng.choice(("touchw:a", "touchr:a", f"touchw:a:0:{size(rng.between(1, pages))}"))
    return [f"{op}:a:{length}", access]


def _advise(rng: Rng, pages: int) -> list[str]:
    """Say something of a part."""
    steps = [_piece(rng, pages), f"madvise:p:{rng.choice(CHANGED_ADVICE)}"]
    return [*steps, rng.choice(("touchw:p", "touchr:p", f"forkcow:a:{size(pages)}"))]


def _lock(rng: Rng, pages: int) -> list[str]:
    """Lock a part, or all there is and perhaps all to come, and let it go again."""
    lock = rng.choice((["mlockall"], ["mlockfuture"], [_piece(rng, pages), "mlock:p"]))
    use = rng.choice((["touchw:a"], ["mmap:l:64K", "touchw:l"], _resize(rng, pages)))
    return [*lock, *use, *rng.choice((["munlockall"], ["munlockall"], ["munlock:a"], []))]


def _limit(rng: Rng, pages: int) -> list[str]:
    """Limit something to about what it has."""
    resource = rng.choice(("AS", "DATA", "MEMLOCK", "STACK"))
    return [f"setrlimit:{resource}:{size(rng.between(0, 3 * pages))}", *_resize(rng, pages)]


def mover(rng: Rng, site: Site) -> list[str]:
    """Have pages moved from node to node, its own and those of others, while they are used."""
    pages, op = site.pages, rng.choice(("mmap", "mmap", "mmapshared"))
    steps = ["uid:1000"] if rng.chance(1, 6) else []  # who may not touch root's processes
    steps += [f"{op}:a:{size(pages)}", f"touchw:a:0:{size(rng.between(1, pages))}"]
    for _ in range(rng.between(2, 8)):
        move = rng.choice((_move_pages, _move_pages, _migrate_pages))
        steps += move(rng, site)
        steps.append(rng.choice((
            "touchw:a", "touchr:a", "randw:a:9:50", "forkcow:a:32K", "clonevm:a:64K",
            "madvise:a:pageout", "mlock:a", "munlock:a", "sleep:1",
        )))  # fmt: skip
    return steps


def _move_pages(rng: Rng, site: Site) -> list[str]:
    """Move pages one by one; now and then to a node without memory, or that is not there."""
    nid = rng.below(9) if rng.chance(1, 8) else rng.choice(site.with_memory)
    pid = f":{FIRST_PID + rng.below(6)}" if rng.chance(1, 6) else ""
    part = [_piece(rng, site.pages)] if rng.chance(1, 2) else []
    return [*part, f"movepages:{'p' if part else 'a'}:{nid}{pid}"]


def _migrate_pages(rng: Rng, site: Site) -> list[str]:
    """Move all pages of a process from a node to another."""
    pid = FIRST_PID + rng.below(6) if rng.chance(1, 2) else 0
    old, new = rng.choice(site.with_memory), rng.choice(site.with_memory)
    return [f"migratepages:{pid}:{old}:{new}"]


def grower(rng: Rng, site: Site) -> list[str]:
    """Let the stack grow, by steps or at once, to its limit and now and then beyond."""
    steps = []
    for name in "stuv"[: rng.between(1, 4)]:
        pages = rng.between(1, 2 * site.pages)
        steps += [f"stack:{name}:{size(pages)}", f"touch{rng.choice('rww')}:{name}"]
        steps.append(rng.choice((
            f"madvise:{name}:{rng.choice(CHANGED_ADVICE)}", f"forkcow:{name}:{size(pages)}",
            f"setrlimit:STACK:{size(rng.between(1, 3 * pages))}", f"mlock:{name}", "mlockfuture",
            f"touchw:{name}:0:{size(pages)}:1:{size(5)}", f"mprotect:{name}:{READ_WRITE}",
            f"mremap:{name}:{size(2 * pages)}", f"mmap:m:{size(site.pages)}",
        )))  # fmt: skip
    return steps


def churner(rng: Rng, site: Site) -> list[str]:
    """Allocate and free blocks at random, by one allocator or by several side by side."""
    steps = []
    for _ in range(rng.between(1, 3)):
        most = size(rng.choice((1, 8, max(1, site.pages // 8))))
        count = rng.choice((20, 60, 200))
        steps.append(f"churn:{rng.choice(tuple(MALLOCS))}:{rng.below(1000)}:{count}:{most}")
        steps += [f"sleep:{rng.between(0, 20)}"] if rng.chance(1, 2) else []
    return steps


def blocker(rng: Rng, site: Site) -> list[str]:
    """Have the kernel take blocks of high order, keep some, and compact memory now and then."""
    steps = [f"mmap:a:{size(site.pages)}", f"touchw:a:0:{size(site.pages)}:1:{size(2)}"]
    for _ in range(rng.between(2, 7)):
        order = rng.choice((1, 2, 3, 3, 4, 5, 6, 9))
        count = 1 + rng.below(max(1, site.pages // 4 >> order))
        steps.append(f"kblock:{order}:{count}{rng.choice(('', '', '', ':atomic'))}")
        steps.append(rng.choice((
            f"kfree:{rng.between(1, 8)}", "kfree:2", "touchw:a", "sleep:1", "madvise:a:pageout",
            "poke:/proc/sys/vm/compact_memory:1",
        )))  # fmt: skip
    return steps


def listener(rng: Rng, site: Site) -> list[str]:
    """Have packets come in, for each of which an interrupt needs a page at once."""
    steps = []
    for _ in range(rng.between(1, 4)):
        packets = rng.between(1, max(2, site.pages))
        steps.append(f"netrx:{min(packets, 300)}:{rng.choice((1, 5, 5, 50))}")
        steps += [f"sleep:{rng.between(0, 5)}"] if rng.chance(1, 2) else []
    return steps


def threads(rng: Rng, site: Site) -> list[str]:
    """Have tasks use and change one address space at once, and make copies of it meanwhile."""
    pages, op = min(site.pages, 256), rng.choice(("mmap", "mmap", "mmapshared", "mmapnr"))
    steps = [f"{op}:a:{size(pages)}"]
    steps += [f"touchw:a:0:{size(rng.between(1, pages))}"] if rng.chance(1, 2) else []
    for _ in range(rng.between(1, 3)):
        steps.append(f"pool:a:{rng.below(1000)}:{rng.choice((10, 30, 100))}")
        steps += rng.choice((["touchw:a"], [f"forkcow:a:{size(pages)}"], ["clonevm:a:64K"], []))
    return steps


MORE_KINDS: Final[dict[str, Callable[[Rng, Site], list[str]]]] = {
    "remapper": remapper,
    "mover": mover,
    "grower": grower,
    "churner": churner,
    "blocker": blocker,
    "listener": listener,
    "threads": threads,
}


def draw_more(
    seed: int, run: int, site: Site, *, events: int, wanted: Collection[str] = ()
) -> tuple[list[str], list[Fault]]:
    """Return the lines of the processes of a run, and the faults that are their own.

    Args:
        seed: Of the campaign.
        run: Its number.
        site: The machine.
        events: Steps of the engine in which they are killed.
        wanted: Kinds that are there for certain, those of draw_mix.py among them.
    """
    lines, faults = [], []
    kinds = MORE_KINDS | {kind: draw for kind, draw in KINDS.items() if kind in wanted}
    for kind, draw in kinds.items():
        rng = Rng(seed, f"stress/{run}/{kind}")
        is_on = rng.chance(1, CHANCE)
        if not is_on and kind not in wanted:
            continue
        pages = min(max(1, site.memory_pages // rng.choice(SHARES)), PAGES_MAX)
        steps = draw(rng, attrs.evolve(site, pages=pages))
        lines.append(" ".join(["memhog", f"name:{kind}", *steps, "&"]))
        if rng.chance(1, KILL_CHANCE):
            event = rng.below(events >> rng.below(6))
            faults.append(Fault(kind=KILL, target=kind, event=event))
    return lines, faults
