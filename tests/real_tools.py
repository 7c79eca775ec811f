"""Lets real programs read a rendered tree as if it were the running kernel's.

The tree's proc and sys are bound over the real ones in a mount namespace of the program's own; it
needs no privileges, but a system that allows such namespaces. The program itself is the one live
process there: its own directory and `self` are the real kernel's.

Interface: `read_tree(tree, command)` is what the command prints on stdout; `inside` for more than
one look at a tree; `pressed_run` and `write_tree` make trees.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kernelsim.procfs.hardware import tree_links
from kernelsim.procfs.snapshot import Snapshot
from kernelsim.procfs.tree import render_tree
from kernelsim.report.machine_run import run_machine
from kernelsim.report.run_options import RunOptions
from kernelsim.units import NS_PER_S
from kernelsim.workload.api import Workload
from tests.private_mounts import NO_MOUNTS, private_mounts, require_mounts
from tests.small_machine import small_machine

ENVIRONMENT = {
    "LC_ALL": "C",
    "TZ": "UTC",
    "S_TIME_FORMAT": "ISO",  # of sar
    "HWLOC_COMPONENTS": "linux,stop",  # lstopo is not to ask the CPU it runs on
}
# $1 live proc, $2 ours, $3 our sys; the rest is the command, which keeps the shell's pid.
ENTER = f"""
mount --rbind /proc "$1" && mkdir "$2/$$" && mount --bind "$1/$$" "$2/$$" && ln -s $$ "$2/self" &&
mount --rbind "$3" /sys && mount --rbind "$2" /proc || exit {NO_MOUNTS}
shift 3; exec "$@"
"""
SNAPSHOTS = ("s0", "s1", "s2", "s3")  # of a pressed run, one a virtual second


async def pressed(machine):
    """Swap for three virtual seconds on one of two nodes; snapshots on the second."""
    await machine.snapshot(SNAPSHOTS[0])

    async def hog(process):
        area = await process.mmap("56M")
        while True:
            await process.touch(area, write=True)

    await machine.spawn("hog", hog)
    bound = await machine.spawn("bound", mempolicy="bind:1")
    await bound.touch(await bound.mmap("2M"), write=True)
    for second, name in enumerate(SNAPSHOTS[1:], start=1):
        await machine.sleep(second * NS_PER_S - machine.now_ns)
        await machine.snapshot(name)


def pressed_run(out: Path) -> Path:
    """Run a small machine under pressure; return its run directory."""
    disk = {"read_latency": "1ms", "write_latency": "1ms"}
    spec = small_machine(cpus=("0-1", "2"), memory="24M", swap="128M", disk=disk)
    run_machine(Workload(pressed, "pressed", spec), RunOptions(out=out), name="pressed.py")
    return out


def write_tree(snapshot: Snapshot, folder: Path) -> Path:
    """Write a tree with its links, as a run directory has it."""
    for name, text in render_tree(snapshot):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for name, target in tree_links(snapshot):
        (folder / name).symlink_to(target)
    return folder


@contextmanager
def inside(tree: Path, command: tuple[str, ...]) -> Iterator[tuple[list[str], Path]]:
    """Give the words that run a command inside a tree, and the proc folder it sees."""
    with tempfile.TemporaryDirectory() as scratch:
        live, proc = Path(scratch, "live"), Path(scratch, "proc")
        live.mkdir()
        shutil.copytree(tree / "proc", proc)
        folders = [str(live), str(proc), str(tree / "sys")]
        enter = private_mounts("sh", "-c", ENTER, "enter")
        yield [*enter, *folders, *command], proc


def read_tree(tree: Path, *command: str) -> str:
    """Return what a command prints whose proc and sys are a tree's.

    Where private mounts are not allowed the test is skipped, in CI it fails; it also fails when
    the command does.
    """
    with inside(tree, command) as (words, _):
        done = subprocess.run(
            words, capture_output=True, text=True, check=False, env=os.environ | ENVIRONMENT
        )
    require_mounts(done.returncode, done.stderr)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


def numbers_of(path: Path) -> dict[str, int]:
    """Return the numbers of a file of `name value` or `name: value kB` lines."""
    lines = (line.replace(":", " ").split() for line in path.read_text().splitlines())
    return {words[0]: int(words[1]) for words in lines if len(words) > 1 and words[1].isdigit()}
