"""Worker processes of a campaign or a sweep, each with one job at a time.

Interface: `Pool` starts them; `give` hands a job to an idle one, `answers` waits for what comes
back; `answer_lines` is what a worker does. A worker that dies or takes too long is replaced, and
its job answered in its place by `Kind.lost`.
Units: seconds of wall time.
"""

import os
import selectors
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic  # noqa: TID251 - how long a worker may take, not virtual time
from typing import Any, Final, Generic, Self, TypeVar

import attrs
import msgspec

T = TypeVar("T")

READ_BYTES: Final = 1 << 16
STDERR: Final = "workers.err"


@attrs.frozen
class Kind(Generic[T]):
    """What a pool's workers do.

    Attributes:
        module: What each runs: it reads a job a line and answers with a line.
        decoded: Reads an answer.
        lost: Makes the answer that stands for a worker that gave none; gets whether it was late,
            and what became of it.
        seconds_max: How long a worker may take for a job; None for as long as it likes.
    """

    module: str
    decoded: Callable[[bytes], T]
    lost: Callable[[bool, str], T]
    seconds_max: Callable[[dict[str, Any]], float | None]


@attrs.define(eq=False)
class Worker:
    """One worker process.

    Attributes:
        number: From 0.
        process: It.
        job: What it works on; None when it is idle.
    """

    number: int
    process: subprocess.Popen[bytes]
    job: dict[str, Any] | None = None
    _began: float = 0.0
    _read: bytes = b""

    def give(self, job: dict[str, Any]) -> None:
        """Hand a job over."""
        assert self.process.stdin is not None, "it was started with a pipe"
        self.job = job
        self._began = monotonic()
        self.process.stdin.write(msgspec.json.encode(job) + b"\n")
        self.process.stdin.flush()

    @property
    def seconds(self) -> float:
        """How long it has worked on its job."""
        return monotonic() - self._began

    def read(self) -> bytes | None:
        """Read what has come; return the answer when it is whole.

        Raises:
            EOFError: The process has died.
        """
        assert self.process.stdout is not None, "it was started with a pipe"
        data = os.read(self.process.stdout.fileno(), READ_BYTES)
        if not data:
            raise EOFError
        self._read += data
        if not self._read.endswith(b"\n"):
            return None
        line, self._read = self._read, b""
        return line


class Pool(Generic[T]):
    """The workers of a campaign; use it in a `with` block, which ends them.

    Args:
        jobs: How many.
        out: Where their stderr goes to.
        kind: What they do.
    """

    def __init__(self, jobs: int, out: Path, kind: Kind[T]) -> None:
        self._out = out
        self._kind = kind
        self._selector = selectors.DefaultSelector()
        self.workers = [self._start(number) for number in range(jobs)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            self._stop(worker)
        self._selector.close()

    def idle(self) -> list[Worker]:
        """Return the workers without a job."""
        return [worker for worker in self.workers if worker.job is None]

    def answers(self, seconds: float) -> Iterator[tuple[Worker, dict[str, Any], T]]:
        """Wait for answers, at most so long; give each with its worker and its job."""
        for key, _ in self._selector.select(seconds):
            worker = key.data
            job = worker.job
            try:
                line = worker.read()
                answer = None if line is None else self._kind.decoded(line)
            except EOFError:
                status = worker.process.wait()
                worker = self._replace(worker)
                answer = self._kind.lost(False, f"the worker died with status {status}")
            if answer is not None and job is not None:
                worker.job = None
                yield worker, job, answer
        for worker in [each for each in self.workers if self._is_late(each)]:
            job = worker.job
            text = f"no answer within {worker.seconds:.0f} s of wall time: a loop without an end"
            assert job is not None, "only one with a job is late"
            yield self._replace(worker), job, self._kind.lost(True, text)

    def _is_late(self, worker: Worker) -> bool:
        """Tell whether a worker takes longer than any of its jobs should."""
        most = None if worker.job is None else self._kind.seconds_max(worker.job)
        return most is not None and worker.seconds > most

    def _start(self, number: int) -> Worker:
        # Each gets a hash seed of its own, so that two runs of a plan differ in it.
        environment = os.environ | {"PYTHONHASHSEED": str(number + 1)}
        with (self._out / STDERR).open("ab") as stderr:
            process = subprocess.Popen(  # noqa: S603 - a module of ours
                [sys.executable, "-m", self._kind.module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=environment,
                start_new_session=True,  # Ctrl-C is for us; their stdin ends with us
            )
        worker = Worker(number, process)
        self._selector.register(process.stdout, selectors.EVENT_READ, worker)  # type: ignore[arg-type]
        return worker

    def _stop(self, worker: Worker) -> None:
        process = worker.process
        assert process.stdin is not None, "it was started with pipes"
        assert process.stdout is not None, "it was started with pipes"
        self._selector.unregister(process.stdout)
        process.kill()
        process.wait()
        process.stdout.close()
        try:
            process.stdin.close()
        except BrokenPipeError:  # it died before it had read its job
            return

    def _replace(self, worker: Worker) -> Worker:
        self._stop(worker)
        self.workers[worker.number] = self._start(worker.number)
        return self.workers[worker.number]


def answer_lines(answer: Callable[[bytes], bytes]) -> None:
    """Answer a line of stdin by one of stdout until stdin ends; what a run prints goes to stderr.

    Args:
        answer: Gets a line, returns the answer with the end of its line.
    """
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    for line in sys.stdin.buffer:
        answers.write(answer(line))
        answers.flush()
