"""Draw the processes that work on files: through descriptors, and through mappings.

Interface: `FILE_KINDS`: each kind returns the steps of one process, in the words of scripts.
Units: pages.
"""

from collections.abc import Callable
from typing import Final

from kernelsim.explore.draw_site import Site, size
from kernelsim.sim.rng import Rng
from kernelsim.units import PAGE_SIZE

NEW_FILES: Final = ("/x", "/y")  # written by some, read by others, if there is a disk
READ_ADVICE: Final = ("normal", "random", "sequential", "willneed")


def reader(rng: Rng, site: Site) -> list[str]:
    """Read files from end to end, or a part, and drop some again."""
    steps: list[str] = []
    for _ in range(rng.between(1, 4)):
        path, block = rng.choice(site.files or NEW_FILES), rng.choice(("4K", "16K", "64K", "5000"))
        length = f":{size(rng.between(1, 2 * site.pages))}" if rng.chance(1, 2) else ""
        steps.append(f"readf:{path}:{block}{length}")
        if rng.chance(1, 4):
            steps.append(rng.choice((f"dontneed:{path}", "drop", f"cached:{path}")))
    return steps


def jumper(rng: Rng, site: Site) -> list[str]:
    """Read pieces of a file at equal distances."""
    path, block = rng.choice(site.files or NEW_FILES), rng.choice(("4K", "1K", "32K"))
    steps = [f"readsteps:{path}:{block}:{rng.between(1, 12)}:{size(rng.between(1, 64))}"]
    return [*steps, *reader(rng, site)]


def writer(rng: Rng, site: Site) -> list[str]:
    """Write files, new ones and those there are, and read them."""
    steps: list[str] = []
    for _ in range(rng.between(1, 3)):
        path = rng.choice((*NEW_FILES, *site.files))
        length, block = size(rng.between(1, 1 + site.pages)), rng.choice(("4K", "64K", "3000"))
        steps.append(f"writef:{path}:{length}:{block}{rng.choice(('', '', ':fsync'))}")
        steps += [f"readf:{path}:64K"] if rng.chance(1, 2) else []
        steps += [f"fsync:{path}"] if rng.chance(1, 3) else []
    return steps


def truncater(rng: Rng, site: Site) -> list[str]:
    """Cut files while others use them, or let them grow by a hole."""
    steps: list[str] = []
    for _ in range(rng.between(1, 4)):
        path = rng.choice((*NEW_FILES, *site.files))
        steps += [f"truncate:{path}:{size(rng.between(0, site.pages))}", *writer(rng, site)[:1]]
    return steps


def fsyncer(rng: Rng, site: Site) -> list[str]:
    """Write a little and wait for the disk, again and again, as a log does."""
    path, steps = rng.choice(NEW_FILES), []
    for _ in range(rng.between(2, 6)):
        steps.append(f"writef:{path}:{size(rng.between(1, 1 + site.pages // 8))}:4K:fsync")
    return steps


def viewer(rng: Rng, site: Site) -> list[str]:
    """Map files and read what they hold: in order, by strides, at random, some of it locked."""
    steps: list[str] = []
    for name in "vwx"[: rng.between(1, 3)]:
        steps.append(f"mapfile:{name}:{_file(rng, site)}")
        if rng.chance(1, 3):
            steps.append(f"madvise:{name}:{rng.choice(READ_ADVICE)}")
        steps += _accesses(rng, site, name, "r")
        if rng.chance(1, 6):
            steps += [f"mlock:{name}", *_accesses(rng, site, name, "r")]
        steps += _perhaps(rng, name, ("munlock", "munmap", "madvise"))
    return steps


def storer(rng: Rng, site: Site) -> list[str]:
    """Map files for all to see, store to them, and wait now and then until a disk has it."""
    steps: list[str] = []
    for name in "st"[: rng.between(1, 2)]:
        path = _file(rng, site)
        if rng.chance(1, 2):  # a hole, whose pages get their places when they are stored to
            steps.append(f"truncate:{path}:{size(rng.between(1, 1 + site.pages))}")
        steps.append(f"mapfile:{name}:{path}:s")
        for _ in range(rng.between(1, 3)):
            steps += _accesses(rng, site, name, rng.choice("wwr"))
            steps += _perhaps(rng, name, ("msync", "madvise", "mlock"))
        steps += _perhaps(rng, name, ("msync", "munlock", "munmap"))
    return steps


def copier(rng: Rng, site: Site) -> list[str]:
    """Map a file in private and store to some of it, which only this process sees."""
    steps = [f"mapfile:c:{_file(rng, site)}:w"]
    for _ in range(rng.between(1, 3)):
        steps += _accesses(rng, site, "c", rng.choice("rww"))
        steps += _perhaps(rng, "c", ("madvise", "mlock", "munlock"))
    return steps


def _file(rng: Rng, site: Site) -> str:
    return rng.choice((*site.files, *NEW_FILES))


def _accesses(rng: Rng, site: Site, name: str, way: str) -> list[str]:
    """Access some of a mapping, if it is that long."""
    pages = rng.between(1, 1 + site.pages)
    first = rng.choice((0, 0, rng.between(0, 1 + site.pages)))
    stride = rng.choice(("", "", f":1:{size(rng.choice((2, 17, 64)))}"))
    if rng.chance(1, 3):
        return [f"rand{way}:{name}:{rng.below(1000)}:{1 + pages // 4}"]
    return [f"touch{way}:{name}:{first * PAGE_SIZE}:{size(pages)}{stride}"]


def _perhaps(rng: Rng, name: str, calls: tuple[str, ...]) -> list[str]:
    """Make one of some calls on a mapping, or none."""
    if not rng.chance(1, 2):
        return []
    call = rng.choice(calls)
    return [f"{call}:{name}:dontneed" if call == "madvise" else f"{call}:{name}"]


FILE_KINDS: Final[dict[str, Callable[[Rng, Site], list[str]]]] = {
    "reader": reader,
    "jumper": jumper,
    "writer": writer,
    "truncater": truncater,
    "fsyncer": fsyncer,
    "viewer": viewer,
    "storer": storer,
    "copier": copier,
}
