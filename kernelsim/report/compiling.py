"""Compile what runs need before the first one, on all processors, and say so meanwhile.

    compile_ns = compile_leaves()        # returns at once when the cache holds everything

It is done once for each version and computer; the cache is shared by all checkouts
(hw/leaf_cache.py). One process at a time does it, others wait for it. When it cannot be done here
(the cache is read-only, the disk full, a process of ours dies), the run compiles what it calls
when it calls it, as it would without.

Interface: `compile_leaves`. Units: ns of wall time.
"""

import fcntl
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import IO, TYPE_CHECKING, Final

import attrs
from rich.console import Console

from kernelsim.hw.compile import (
    KEPT,
    CompileJob,
    can_keep_leaves,
    lock_file,
    missing_leaves,
)

if TYPE_CHECKING:
    from kernelsim.report.compile_display import CompileDisplay

WORKERS_MAX: Final = 4  # more wait for each other most of the time: a leaf needs those it calls
LOOK_S: Final = 0.1
PROGRAM: Final = (sys.executable, "-P", "-m", "kernelsim.hw.compile")


def compile_leaves(*, enabled: bool = True, console: Console | None = None) -> int:
    """Compile all leaves imported so far that the cache does not hold.

    Args:
        enabled: False says nothing.
        console: Where to say it; None for stderr.

    Returns:
        How long it took, ns.
    """
    began_ns = time.perf_counter_ns()
    if not missing_leaves():
        return 0
    from kernelsim.report.compile_display import CompileDisplay  # noqa: PLC0415 - seldom needed

    display = CompileDisplay(console or Console(stderr=True), enabled=enabled)
    if not can_keep_leaves():
        display.keep_nothing(lock_file().parent)
        return 0
    try:
        with compile_lock(display):
            jobs = missing_leaves()
            if jobs:
                Compilation(jobs, display).run(nr_workers())
    finally:
        display.stop()
    display.tell_end()
    return time.perf_counter_ns() - began_ns


def nr_workers() -> int:
    """Return how many processes to compile in."""
    with suppress(AttributeError):  # not every system tells which processors are ours
        return min(len(os.sched_getaffinity(0)), WORKERS_MAX)
    return min(os.cpu_count() or 1, WORKERS_MAX)


@contextmanager
def compile_lock(display: "CompileDisplay") -> Iterator[None]:
    """Let one process at a time compile, where the file system has locks."""
    with ExitStack() as stack:
        with suppress(OSError):
            file = stack.enter_context(lock_file().open("w"))
            while not try_lock(file):
                display.wait_for_other()
                time.sleep(LOOK_S)
        yield


def try_lock(file: IO[str]) -> bool:
    """Lock a file; False while another process holds it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@attrs.define(eq=False)
class Worker:
    """A process that compiles, and what it is at."""

    process: subprocess.Popen[str]
    job: CompileJob | None = None

    @property
    def answers(self) -> IO[str]:
        """Where it says that it is done."""
        assert self.process.stdout is not None, "a pipe was asked for"
        return self.process.stdout

    def give(self, job: CompileJob) -> bool:
        """Give it something to do; False if it has died."""
        assert self.process.stdin is not None, "a pipe was asked for"
        self.job = job
        try:
            self.process.stdin.write(job.name + "\n")
            self.process.stdin.flush()
        except OSError:
            return False
        return True

    def end(self) -> None:
        """End it, whatever it is at."""
        self.process.kill()
        self.process.communicate()


class Compilation:
    """All jobs, handed out to processes: callees first, the longest way up first."""

    def __init__(self, jobs: list[CompileJob], display: "CompileDisplay") -> None:
        self.waiting = by_urgency(jobs)
        self.undone = {job.name for job in jobs}
        self.workers: list[Worker] = []
        self.display = display
        self.selector = selectors.DefaultSelector()

    def run(self, nr: int) -> None:
        """Do all jobs in some processes, or give up."""
        try:
            for _ in range(min(nr, len(self.waiting))):
                self._start_worker()
            weight = sum(job.weight for job in self.waiting)
            self.display.start(len(self.waiting), weight, len(self.workers))
            while self.undone and self._hand_out():
                for key, _ in self.selector.select(LOOK_S):
                    self._hear(key.data)
                self.display.look()
        finally:
            for worker in self.workers:
                worker.end()
            self.selector.close()

    def _start_worker(self) -> None:
        # In a session of its own: Ctrl-C is for us, and we end it.
        process = subprocess.Popen(  # noqa: S603 - our own program
            PROGRAM,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        worker = Worker(process)
        self.workers.append(worker)
        self.selector.register(worker.answers, selectors.EVENT_READ, worker)

    def _hand_out(self) -> bool:
        """Give idle processes what can be done now; return whether any is at work."""
        for worker in self.workers:
            if worker.job is not None:
                continue
            job = next((j for j in self.waiting if self.undone.isdisjoint(j.needs)), None)
            if job is None:
                break
            self.waiting.remove(job)
            if not worker.give(job):
                return False
        return any(worker.job is not None for worker in self.workers)

    def _hear(self, worker: Worker) -> None:
        """Take the answer of a process; without a good one nothing more is handed out."""
        job, worker.job = worker.job, None
        if worker.answers.readline().strip() != KEPT:
            self.undone.clear()
        elif job is not None:
            self.undone.discard(job.name)
            self.display.done(job.weight)


def by_urgency(jobs: Iterable[CompileJob]) -> list[CompileJob]:
    """Sort jobs by how long takes what has to be done one by one from their start."""
    by_name = {job.name: job for job in jobs}
    ways = dict.fromkeys(by_name, 0)
    waiting = [(job, 0) for job in by_name.values()]
    while waiting:
        job, way = waiting.pop()
        if way + job.weight > ways[job.name]:
            ways[job.name] = way + job.weight
            waiting.extend((by_name[name], ways[job.name]) for name in job.needs)
    return sorted(by_name.values(), key=lambda job: (-ways[job.name], job.name))
