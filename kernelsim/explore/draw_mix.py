"""Draw the processes of a run, and what goes wrong: kinds are on or off, the rest has wild weights.

Each kind is a function that returns the steps of one process, in the words of portable scripts.
Sizes are shares of what the machine has: most mixes need a little more than memory, and most find
room in swap, so that processes live through reclaim and end by themselves.
Interface: `draw_script` returns the lines, `draw_faults` the faults of a script.
Units: pages, ms; `size` is a text such as "12K".
"""

from collections.abc import Callable, Sequence
from typing import Final

import attrs

from kernelsim.explore.draw_files import FILE_KINDS
from kernelsim.explore.draw_machine import tunables
from kernelsim.explore.draw_site import Site, size
from kernelsim.explore.plan import (
    BAD_READS,
    BAD_WRITES,
    KILL,
    LATE_CPU,
    SLOW_DISK,
    Fault,
)
from kernelsim.sim.rng import Rng
from kernelsim.units import NS_PER_MS, PAGE_SIZE

WEIGHTS: Final = (1, 1, 2, 8, 32)
FOOTPRINTS: Final = (60, 110, 130, 130, 150, 150, 180, 220)  # of all processes, % of memory
FAULT_CHANCES: Final = {
    SLOW_DISK: 3,
    LATE_CPU: 3,
    KILL: 8,
    BAD_READS: 10,
    BAD_WRITES: 10,
}  # in one run of so many
OVERDRAFTS: Final = (80, 95, 95, 100, 105)  # most of it, in percent of memory and swap
PAGES_MAX: Final = 2500  # of all processes, so that a run is short on a large machine too

ADVICES: Final = ("pageout", "pageout", "cold", "free", "dontneed", "willneed")
POLICY_OPS: Final = (
    "setpol", "migratepages", "madvise", "mbind", "mbindmove", "mbindmove", "poke",
)  # fmt: skip
FIRST_PID: Final = 100  # of the processes of a run
SWAP_PATHS: Final = ("/dev/vda", "/dev/vda", "/dev/vdb", "/dev/vdc")  # a machine may have fewer


def hog(rng: Rng, site: Site) -> list[str]:
    """Write all it has, again and again."""
    passes = rng.between(1, 2)
    return [f"mmap:a:{size(site.pages)}", f"touchw:a:0:{size(site.pages)}:{passes}", "touchr:a"]


def zipf(rng: Rng, site: Site) -> list[str]:
    """Access pages by Zipf's law: each octave of ranks gets the same number of accesses."""
    steps, pages, names = [], max(1, site.pages // 64), "abcdefg"
    for name in names:
        steps.append(f"mmap:{name}:{size(pages)}")
        pages *= 2
        if pages > site.pages:
            break
    used = names[: len(steps)]
    for _ in range(rng.between(1, 2)):
        for name in used:
            op = rng.choice(("randw", "randw", "randr"))
            steps.append(f"{op}:{name}:{rng.below(1000)}:{max(1, site.pages // 6)}")
    return steps


def strider(rng: Rng, site: Site) -> list[str]:
    """Access every few pages, then all."""
    stride = size(rng.choice((2, 3, 17, 512, 1024)))
    length = size(site.pages)
    return [
        f"mmap:a:{length}",
        f"touchw:a:0:{length}:1:{stride}",
        f"touchw:a:0:{length}:1:{rng.choice((512, 4096, 6000))}",
        f"{rng.choice(('touchr', 'touchw', 'touchw'))}:a",
    ]


def phases(rng: Rng, site: Site) -> list[str]:
    """Use one region for a time, then another, then the first again."""
    half, pause = size(site.pages // 2), f"sleep:{rng.between(0, 200)}"
    steps = [f"mmap:a:{half}", f"mmap:b:{half}", f"touchw:a:0:{half}:{rng.between(1, 3)}", pause]
    return [*steps, f"touchw:b:0:{half}:2", pause, rng.choice(("touchr:a", "touchw:a"))]


def leaker(rng: Rng, site: Site) -> list[str]:
    """Take more and more and never give any back."""
    nr_steps = rng.between(2, 5)
    piece = max(1, site.pages // (2 * nr_steps))
    steps = [f"grow:{size(piece)}:{size(piece * 2)}" for _ in range(nr_steps)]
    return [word for step in steps for word in (step, f"sleep:{rng.between(0, 50)}")]


def sleeper(rng: Rng, site: Site) -> list[str]:
    """Have memory, sleep for long, want it again."""
    steps = [f"mmap:a:{size(site.pages)}", "touchw:a", f"sleep:{rng.between(1, 3000)}"]
    return [*steps, rng.choice(("touchr:a", "touchw:a"))]


def exiter(rng: Rng, site: Site) -> list[str]:
    """Come and go."""
    return [f"mmap:a:{size(rng.between(1, max(1, site.pages // 4)))}", "touchw:a"]


def mapper(rng: Rng, site: Site) -> list[str]:
    """Map, use, drop and unmap, in turns."""
    steps, live = [], ""
    for turn in range(rng.between(2, 6)):
        name = "abcdef"[turn]
        op = rng.choice(("mmap", "mmap", "mmapnr"))
        steps += [f"{op}:{name}:{size(rng.between(1, 1 + 2 * site.pages // 3))}", f"touchw:{name}"]
        live += name
        if rng.chance(1, 3):
            steps.append(f"madvise:{rng.choice(live)}:dontneed")
        if rng.chance(1, 2):
            gone = rng.choice(live)
            live = live.replace(gone, "")
            steps.append(f"munmap:{gone}")
    return steps


def adviser(rng: Rng, site: Site) -> list[str]:
    """Say what will be used and what not, and use it all the same."""
    half = size(site.pages // 2)
    steps = [f"mmap:a:{half}", "touchw:a", f"mmap:b:{half}"]
    for _ in range(rng.between(2, 8)):
        steps.append(f"madvise:{rng.choice('ab')}:{rng.choice(ADVICES)}")
        if rng.chance(2, 3):
            op = rng.choice(("touchw:{}", "touchr:{}", "randw:{}:7:64", "randr:{}:7:64"))
            steps.append(op.format(rng.choice("ab")))
    return steps


def breaker(rng: Rng, site: Site) -> list[str]:
    """Grow and shrink the heap."""
    steps, live = [], ""
    for turn in range(rng.between(3, 8)):
        if live and rng.chance(1, 2):
            steps.append(f"free:{live[-1]}")
            live = live[:-1]
        else:
            name = "hijklmno"[turn]
            steps.append(f"mallocw:{name}:{size(rng.between(1, 1 + 2 * site.pages // 3))}")
            live += name
    return steps


def bound(rng: Rng, site: Site) -> list[str]:
    """Have a memory policy, perhaps change it and those of mappings, and have pages moved."""
    steps = [f"setpol:{policy(rng, site)}"]
    if rng.chance(1, 2):
        return [*steps, *hog(rng, site)]
    part = size(site.pages // 2)
    steps += [f"mmap:a:{part}", f"mmap:b:{part}"]
    for _ in range(rng.between(2, 7)):
        op, region = rng.choice(POLICY_OPS), rng.choice("ab")
        if op == "setpol":
            steps.append(f"setpol:{policy(rng, site)}")
        elif op == "migratepages":
            pid = rng.choice((0, 0, FIRST_PID + rng.below(6)))  # perhaps another's, or nobody's
            old, new = rng.choice(site.with_memory), rng.choice(site.with_memory)
            steps.append(f"migratepages:{pid}:{old}:{new}")
        elif op == "poke":
            steps.append(f"poke:/proc/sys/vm/zone_reclaim_mode:{rng.choice((0, 1, 2, 4, 7))}")
        elif op == "madvise":
            steps.append(f"madvise:{region}:dontneed")
        else:
            steps.append(f"{op}:{region}:{policy(rng, site)}")
        steps.append(f"touch{rng.choice('rww')}:{rng.choice('ab')}")
    return steps


def policy(rng: Rng, site: Site) -> str:
    """Return a mode and its nodes."""
    mode = rng.choice(("bind", "bind", "preferred", "interleave", "preferred_many", "local"))
    if mode == "local":
        return mode
    nodes = {rng.choice(site.with_memory) for _ in range(1 if mode == "preferred" else 3)}
    return f"{mode}:{','.join(map(str, sorted(nodes)))}"


def changer(rng: Rng, site: Site) -> list[str]:
    """Write tunables while others run."""
    memory_kib = site.memory_pages * PAGE_SIZE // 1024
    steps, known = [], tunables(is_classic=site.is_classic, memory_kib=memory_kib)
    for _ in range(rng.between(1, 5)):
        name = rng.choice(tuple(known))
        path = f"/proc/sys/{name.replace('.', '/')}"
        steps += [f"poke:{path}:{rng.choice(known[name])}", f"sleep:{rng.between(0, 20)}"]
    return steps


def prone(rng: Rng, site: Site) -> list[str]:
    """Be the one the OOM killer takes, or the one it must not."""
    adj = rng.choice((1000, 500, -500, -1000))
    return [f"adj:{adj}", *hog(rng, attrs.evolve(site, pages=site.pages * rng.between(1, 2)))]


def mlocker(rng: Rng, site: Site) -> list[str]:
    """Lock memory, before or after it is written, and let some of it go again."""
    locked = max(1, site.pages // rng.choice((2, 4, 8)))
    steps = [f"mmap:a:{size(locked)}", *rng.choice((["touchw:a", "mlock:a"], ["mlock:a"]))]
    steps += hog(rng, site)[1:] if rng.chance(1, 2) else []
    steps.append(f"sleep:{rng.between(0, 50)}")
    steps.append(rng.choice(("munlock:a", "touchw:a", "munmap:a", "madvise:a:dontneed")))
    return steps


def sharer(rng: Rng, site: Site) -> list[str]:
    """Have memory that could be shared, have it swapped, and want it again."""
    steps = [f"mmapshared:a:{size(site.pages)}", "touchw:a"]
    for _ in range(rng.between(1, 5)):
        pause = f"sleep:{rng.between(0, 100)}"
        steps.append(rng.choice((f"madvise:a:{rng.choice(ADVICES)}", pause)))
        steps.append(rng.choice(("touchr:a", "touchw:a", "randw:a:7:64")))
    return steps


def swapoff(rng: Rng, _site: Site) -> list[str]:
    """Switch a swap area off, and often on again."""
    path, steps = rng.choice(SWAP_PATHS), [f"sleep:{rng.between(0, 100)}"]
    for _ in range(rng.between(1, 3)):
        steps += [f"swapoff:{path}", f"sleep:{rng.between(0, 20)}"]
        if rng.chance(3, 4):
            prio = rng.choice(("", ":0", ":5"))
            steps += [f"swapon:{path}{prio}"]
    return steps


FORKER: Final = "forker"
FORKER_CHANCE: Final = 4  # in one run of so many
FORKER_SHARE: Final = 16  # of memory, at most
FORKER_PAGES: Final = 256
FORKER_STEPS: Final = (
    "touchw:a", "forkcow:a:{size}", "forkcow:a:{size}:r", "clonevm:a:{size}", "vforkw:a:{size}",
)  # fmt: skip
KINDS: Final[dict[str, Callable[[Rng, Site], list[str]]]] = {
    "hog": hog,
    "zipf": zipf,
    "strider": strider,
    "phases": phases,
    "leaker": leaker,
    "sleeper": sleeper,
    "exiter": exiter,
    "mapper": mapper,
    "adviser": adviser,
    "breaker": breaker,
    "bound": bound,
    "changer": changer,
    "prone": prone,
    "mlocker": mlocker,
    "swapoff": swapoff,
    "sharer": sharer,
    **FILE_KINDS,
}


FRUGAL: Final = (changer, exiter)  # count for nothing where memory is shared out


def draw_kinds(rng: Rng) -> dict[str, int]:
    """Switch whole kinds on or off; return the weights of those that are on."""
    on = {kind: rng.choice(WEIGHTS) for kind in KINDS if rng.chance(1, 2)}
    return on or {rng.choice(tuple(KINDS)): 1}


def draw_script(rng: Rng, site: Site, kinds: dict[str, int]) -> list[str]:
    """Return the lines of a script.

    Args:
        rng: Where all is drawn from.
        site: The machine.
        kinds: What processes there are, with weights.
    """
    is_many = rng.chance(1, 8)  # many small ones
    nr = rng.between(8, 24) if is_many else rng.choice((1, 2, 2, 3, 3, 4, 6))
    pages = footprint(rng, site)
    bag = [kind for kind, weight in kinds.items() for _ in range(weight)]
    drawn = [(rng.choice(bag), rng.choice((1, 2, 2, 3, 4))) for _ in range(nr)]
    parts = max(1, sum(part for kind, part in drawn if KINDS[kind] not in FRUGAL))
    has_pauses, has_kills, has_users = rng.chance(1, 3), rng.chance(1, 12), rng.chance(1, 4)
    keeps = rng.chance(3, 4)
    lines: list[str] = []
    for number, (kind, part) in enumerate(drawn):
        steps = KINDS[kind](rng, attrs.evolve(site, pages=max(1, pages * part // parts)))
        first = [f"name:{kind}{number}"]
        if rng.chance(1, 3):
            first.append(f"cpu:{rng.below(site.nr_cpus)}")
        if has_users and rng.chance(1, 2):
            first.append(f"uid:{rng.choice((0, 1000))}")
        last = [f"sleep:{rng.choice((1, 20, 300))}"] if keeps else []  # and keeps what it has
        lines.append(" ".join(["memhog", *first, *steps, *last, "&"]))
        if has_pauses and rng.chance(1, 2):
            lines.append(f"sleep 0.{rng.choice(('0001', '001', '01', '1'))}")
        if has_kills and rng.chance(1, 3):
            lines.append(f"kill {kind}{number}")
    return [*lines, "wait"]


def footprint(rng: Rng, site: Site) -> int:
    """Draw how many pages all processes of a script use together."""
    most = (site.memory_pages + site.swap_pages) * rng.choice(OVERDRAFTS) // 100
    return min(site.memory_pages * rng.choice(FOOTPRINTS) // 100, most, PAGES_MAX)


def draw_faults(
    rng: Rng, names: Sequence[str], disks: Sequence[str], *, nr_cpus: int, events: int
) -> list[Fault]:
    """Return what goes wrong.

    Args:
        rng: Where all is drawn from.
        names: Of the processes.
        disks: Names.
        nr_cpus: CPUs of the machine.
        events: Steps of the engine in which faults come.
    """
    on = [kind for kind, chances in FAULT_CHANCES.items() if rng.chance(1, chances)]
    faults: list[Fault] = []
    for kind in on:
        for _ in range(rng.between(1, 3)):
            event = rng.below(events >> rng.below(6))  # runs differ in length: early ones more
            if kind == KILL:
                faults.append(Fault(kind=KILL, target=rng.choice(names), event=event))
            elif kind == LATE_CPU:
                by_ns = rng.choice((10_000, 1_000_000, 15_000_000))
                target = str(rng.below(nr_cpus))
                faults.append(Fault(kind=LATE_CPU, target=target, event=event, by_ns=by_ns))
            elif disks and kind in (BAD_READS, BAD_WRITES):
                for_ns = rng.choice((1, 50, 2000)) * NS_PER_MS
                target = rng.choice(disks)
                faults.append(Fault(kind=kind, target=target, event=event, for_ns=for_ns))
            elif disks:
                by_ns, for_ns = rng.choice(((500_000, 50), (20_000_000, 500), (2_000_000_000, 100)))
                faults.append(
                    Fault(
                        kind=SLOW_DISK,
                        target=rng.choice(disks),
                        event=event,
                        by_ns=by_ns,
                        for_ns=for_ns * NS_PER_MS,
                    )
                )
    return faults


def draw_forker(rng: Rng, site: Site, *, is_wanted: bool = False) -> list[str]:
    """Return the line of a process that forks, lends its memory and runs a pool, in some runs.

    It has a stream of its own, so that the other draws of a seed stay as they were.
    """
    if not rng.chance(1, FORKER_CHANCE) and not is_wanted:
        return []
    size = rng.between(1, max(2, min(site.memory_pages // FORKER_SHARE, FORKER_PAGES))) * PAGE_SIZE
    kind = rng.choice(("mmap", "mmap", "mmapshared"))
    steps = [f"name:{FORKER}", f"{kind}:a:{size}"]
    for _ in range(rng.between(1, 4)):
        part = rng.between(1, size // PAGE_SIZE) * PAGE_SIZE
        steps.append(rng.choice(FORKER_STEPS).format(size=part))
    return [" ".join(["memhog", *steps, "&"])]
