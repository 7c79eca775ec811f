"""Runs workloads into file systems that are too small, and tells what they left: a JSON line each.

A program for a mount and user namespace of its own: `unshare -rm python full_disk.py FOLDER`.
"""

import contextlib
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb

from kernelsim.cli.main import exit_status

HEAD = """
from kernelsim.workload import workload

@workload(machine="tiny-64m")
async def main(machine):
    hog = await machine.spawn("hog")
    region = await hog.mmap("{size}")
    await hog.touch(region, write=True)
"""
SMALL = """
    await machine.snapshot("early")
    await hog.touch(region)
    await machine.snapshot("late")
    other = await machine.spawn("other")
    await machine.sleep("1s")
"""
# Every page makes a few lines: this log is far bigger than everything else.
LOUD = ("--trace", "*")


@contextlib.contextmanager
def tmpfs(place: Path, options: str) -> Iterator[Path]:
    """Mount a small file system."""
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def run(workload: Path, out: Path, *words: str) -> tuple[int, str]:
    """Run the command line; return its status and what it said on stderr."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        status = exit_status(["run", str(workload), "--out", str(out), *words])
    return status, said.getvalue()


def files_of(folder: Path) -> list[str]:
    """Name every file below a folder."""
    return sorted(str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file())


def faults_of(out: Path, good: Path) -> list[str]:
    """Tell what under its final name is not whole, and what should not be there at all."""
    faults: list[str] = []
    names = files_of(out)
    for name in names:
        data = (out / name).read_bytes()
        if name == "events.jsonl":
            whole = (good / name).read_bytes()
            if not (whole.startswith(data) and data.endswith(b"\n")):
                faults.append("events.jsonl is no prefix in whole lines")
        elif name == "run.json":
            state = json.loads(data)["exit_state"]
            if (state == "done") != (names == files_of(good)):
                faults.append(f"run.json says {state} of {len(names)} files")
            log = out / "events.jsonl"
            nr_lines = len(log.read_bytes().splitlines()) if log.exists() else 0
            if json.loads(data)["nr_events"] != nr_lines:
                faults.append(f"run.json counts not the {nr_lines} lines of the log")
        elif name in {"metrics.parquet", "processes.parquet", "memory_map.parquet"}:
            duckdb.read_parquet(str(out / name)).fetchall()
        elif data != (good / name).read_bytes():
            faults.append(f"{name} is not that of a whole run")
    for tree in ("proc", "sys", "snapshots/early", "snapshots/late"):
        if (out / tree).exists() and files_of(out / tree) != files_of(good / tree):
            faults.append(f"{tree} is not whole")
    if (out / "proc").exists() != (out / "sys").exists():
        faults.append("proc and sys are not there together")
    return faults


def kib_of(folder: Path) -> int:
    """Return how much the files below a folder take in whole blocks of 4 KiB."""
    sizes = [(folder / name).stat().st_size for name in files_of(folder)]
    return sum(-(-size // 4096) * 4 for size in sizes)


def told(folder: Path, good: Path, workload: Path, options: str, *words: str) -> dict[str, object]:
    """Run on a small file system."""
    with tmpfs(folder / "disk", options) as place:
        out = place / "out"
        status, said = run(workload, out, *words)
        record = json.loads((out / "run.json").read_text()) if (out / "run.json").exists() else {}
        return {
            "options": options,
            "status": status,
            "said": said,
            "files": files_of(out),
            "state": record.get("exit_state"),
            "faults": faults_of(out, good),
        }


def rerun(folder: Path, small: Path, loud: Path) -> dict[str, object]:
    """Let the disk fill up under a run that takes the place of an earlier one."""
    with tmpfs(folder / "again", "size=1400k") as place:
        run(small, place / "out")
        before = {name: (place / "out" / name).read_bytes() for name in files_of(place / "out")}
        status, said = run(loud, place / "out", *LOUD)
        previous = place / "out" / "previous"
        return {
            "options": "again",
            "status": status,
            "said": said,
            "kept": before == {name: (previous / name).read_bytes() for name in files_of(previous)},
            "files": [name for name in files_of(place / "out") if "previous" not in name],
        }


def main() -> None:
    """Sweep sizes in KiB, and numbers of files."""
    folder = Path(sys.argv[1])
    small, loud = folder / "small.py", folder / "loud.py"
    small.write_text(HEAD.format(size="1M") + SMALL)
    loud.write_text(HEAD.format(size="20M"))
    for path, words in ((small, ()), (loud, LOUD)):
        run(path, folder / path.stem, *words)
    whole = kib_of(folder / "small")
    for kib in (*range(4, 60, 8), *range(60, whole, 120), *range(whole - 32, whole + 12, 4)):
        print(json.dumps(told(folder, folder / "small", small, f"size={kib}k")))
    for nr_inodes in (2, 3, 4, 5, 60, 110, 200, 300):
        options = f"nr_inodes={nr_inodes}"
        print(json.dumps(told(folder, folder / "small", small, options)))
    for kib in (4, 100, 300, 777, 2048):
        print(json.dumps(told(folder, folder / "loud", loud, f"size={kib}k", *LOUD)))
    print(json.dumps(rerun(folder, small, loud)))


if __name__ == "__main__":
    main()
