"""What a lone reader, its CPU and its disk do while nobody else acts: sleep, wake, send, complete.

Linux: kernel/sched/core.c, block/blk-mq.c, fs/mpage.c, 6.1.
A task that reads a file from end to end sleeps until its disk is done, copies a window of pages,
sends for another one and sleeps again. Between these steps nobody has anything to decide: the CPU
has no other task, the disk takes each request at once. The leaves here take the steps of the actors
of the CPU, the disk and the node, at the same times and counted as the same events.

Interface: `Stream` is the state; `wake_time` tells when the task will be woken, `sleep`, `end_read`
and `wake` take it there, `spend` lets it compute, `submit` hands a request to the disk.
Units: ns, pages.
"""

from typing import Final, NamedTuple

import numpy as np

from kernelsim.hw.leaf import inlined_leaf, leaf
from kernelsim.hw.spread import spread_ns
from kernelsim.mm.burst.cache_pages import new_cache_run
from kernelsim.mm.burst.columns import NEVER_NS, R_ZONES, ZONES_MAX
from kernelsim.mm.core.mem import I64, I64_2D, U64, Mem
from kernelsim.mm.core.xarray import XA_CHUNK_MASK, xa_leaf
from kernelsim.mm.file.address_space import FileMappings
from kernelsim.mm.file.filemap import READ_OK, end_page_read
from kernelsim.mm.file.readahead import IO_PAGES, VM_READAHEAD_PAGES

# Entries of `Stream.state`: of the run,
ST_NOW: Final = 0
ST_NUMBER: Final = 1  # of the last event
ST_NUMBER_END: Final = 2  # events may have numbers below this
ST_HORIZON: Final = 3  # next event of anybody else
ST_END: Final = 4  # no sleep ends at or behind this
# of the task and its CPU,
ST_CHARGED: Final = 5  # CPU time of the task up to now, in both modes,
ST_GOT_CPU: Final = 6  # since when it runs,
ST_CHARGED_THEN: Final = 7  # and what its time was then
ST_VRUNTIME: Final = 8
ST_SINCE: Final = 9  # up to when that is
ST_MIN_VRUNTIME: Final = 10
ST_CREDIT: Final = 11  # most that a sleeper is behind
ST_IRQ_END: Final = 12  # when the last interrupt of the CPU was over
ST_END_IO_NS: Final = 13  # what one takes
ST_NR_SLEEPS: Final = 14
ST_FIRST_SLEEP: Final = 15
ST_LAST_SLEEP: Final = 16
ST_SLEPT: Final = 17  # in all
ST_LOCK_NS: Final = 18  # in the page allocator
# of the disk,
ST_NR_IN_FLIGHT: Final = 19
ST_NR_IN_FLIGHT_MAX: Final = 20  # most so far
ST_ROOM: Final = 21  # as many may be under way
ST_NR_AT_DEVICE: Final = 22
ST_DEPTH: Final = 23  # as many may be there
ST_ACTIVE_SINCE: Final = 24
ST_ACTIVE_NS: Final = 25
ST_LAST_READ: Final = 26
ST_SYNC_ISSUE: Final = 27  # -1 for none, as in RqDepth
ST_READ_MIN: Final = 28  # -1 for none
ST_PIPE_FREE: Final = 29
ST_SEED: Final = 30
ST_DRAWS: Final = 31  # numbers drawn so far
ST_LATENCY: Final = 32
ST_SPREAD: Final = 33
ST_REQUEST_NS: Final = 34
ST_BANDWIDTH: Final = 35
ST_STALLED: Final = 36  # nothing completes before
ST_ASKED: Final = 37  # pages of requests sent
ST_READ_NS: Final = 38  # of requests that are done
ST_BUSY_NS: Final = 39  # of its pipe
# of the file and its reader,
ST_FILE: Final = 40
ST_NR_PAGES: Final = 41
ST_EXTENT_END: Final = 42  # pages before this lie one after the other on the disk
ST_RA_START: Final = 43  # as in FileRa
ST_RA_SIZE: Final = 44
ST_RA_ASYNC: Final = 45
ST_RA_PAGES: Final = 46
ST_MOST: Final = 47  # pages of a request
ST_SUBMIT_NS: Final = 48
ST_FOLIO_NS: Final = 49  # what reading a page costs besides
ST_SWAP_FREE: Final = 50
ST_NID: Final = 51  # of the CPU
ST_CPU: Final = 52
# and of the rows.
ST_HEAD: Final = 53  # of `flight`: the first that will be done,
ST_NR_FLIGHT: Final = 54  # and how many there are
ST_NR_DONE: Final = 55  # rows of `done`
NR_STREAM_FIELDS: Final = 56
ST_TASK: Final = slice(0, ST_LOCK_NS + 1)  # what is of the run, the task and its CPU,
ST_DISK: Final = slice(ST_NR_IN_FLIGHT, ST_BUSY_NS + 1)  # of the disk,
ST_READER: Final = slice(ST_FILE, NR_STREAM_FIELDS)  # and the rest

# Columns of requests
Q_START: Final = 0  # first page of the file
Q_NR: Final = 1
Q_SENT: Final = 2  # when the task began to send it
Q_BEGAN: Final = 3  # when the disk took it
Q_AT: Final = 4  # when the disk will be, or was, done
Q_NUMBER: Final = 5  # of that event
Q_WINDOW: Final = 6  # first page of the window it is part of; -1: not known
NR_Q_COLUMNS: Final = 7
FLIGHT_MAX: Final = 64
DONE_MAX: Final = 2048
_SECOND: Final = 1_000_000_000
_PAGE_SHIFT: Final = 12


class Stream(NamedTuple):
    """The state of one reader."""

    state: I64  # [ST_*]
    flight: I64_2D  # [FLIGHT_MAX, Q_*] a ring of requests under way, in the order they will be done
    done: I64_2D  # [DONE_MAX, Q_*] those that are done; Q_AT is when their pages were filled
    run: I64  # of the window that is entered in part, CR_*
    request: I64  # what pages are allocated by, R_*
    pfns: I64  # of the window


def new_stream() -> Stream:
    """Return the state of a reader, for its caller to fill."""
    return Stream(
        state=np.zeros(NR_STREAM_FIELDS, np.int64),
        flight=np.zeros((FLIGHT_MAX, NR_Q_COLUMNS), np.int64),
        done=np.zeros((DONE_MAX, NR_Q_COLUMNS), np.int64),
        run=new_cache_run(),
        request=np.zeros(R_ZONES + ZONES_MAX, np.int64),
        pfns=np.zeros(max(IO_PAGES, 2 * VM_READAHEAD_PAGES), np.int64),
    )


@inlined_leaf
def next_done(stream: Stream, place: int) -> int:
    """Return when the disk is done with a request under way, the first one is 0; or never."""
    if stream.state[ST_NR_FLIGHT] <= place:
        return NEVER_NS
    return int(stream.flight[(stream.state[ST_HEAD] + place) % FLIGHT_MAX, Q_AT])


@inlined_leaf
def horizon(stream: Stream) -> int:
    """Return when anything happens next that the task does not do."""
    return min(int(stream.state[ST_HORIZON]), next_done(stream, 0))


@inlined_leaf
def spend(stream: Stream, ns: int) -> None:
    """Let the task compute."""
    state = stream.state
    state[ST_NOW] += ns
    state[ST_NUMBER] += ns != 0
    state[ST_CHARGED] += ns


@leaf
def cached_run(files: FileMappings, number: int, start: int, nr: int, pfns: I64) -> None:
    """Collect pages of a file that follow each other and are all cached."""
    row = 0
    for i in range(nr):
        offset = (start + i) & XA_CHUNK_MASK
        if i == 0 or offset == 0:
            row = xa_leaf(files.xa, number, start + i)
        pfns[i] = files.xa.slots[row, offset]


@leaf
def wake_time(stream: Stream, index: int) -> int:
    """Return when a task is woken that waits for a page; -1 if that is not for here.

    The page has to come with the next request that is done, and all has to be over before anything
    else happens.
    """
    state = stream.state
    row = stream.flight[state[ST_HEAD] % FLIGHT_MAX]
    if state[ST_NR_FLIGHT] == 0 or not row[Q_START] <= index < row[Q_START] + row[Q_NR]:
        return -1
    if state[ST_NR_DONE] == len(stream.done) or row[Q_AT] < state[ST_STALLED]:
        return -1
    at_ns = max(int(row[Q_AT]), int(state[ST_IRQ_END])) + state[ST_END_IO_NS]
    is_late = at_ns >= min(int(state[ST_HORIZON]), int(state[ST_END]), next_done(stream, 1))
    return -1 if is_late or at_ns <= state[ST_NOW] else int(at_ns)


@leaf
def sleep(stream: Stream) -> None:
    """Let the task leave its CPU, which has nothing else to do.

    Source: Linux 6.1 kernel/sched/core.c:io_schedule, kernel/sched/fair.c:put_prev_task_fair
    """
    state = stream.state
    now_ns = state[ST_NOW]
    state[ST_CHARGED] = state[ST_CHARGED_THEN] + now_ns - state[ST_GOT_CPU]
    state[ST_VRUNTIME] += max(0, now_ns - state[ST_SINCE])
    state[ST_MIN_VRUNTIME] = max(state[ST_MIN_VRUNTIME], state[ST_VRUNTIME])
    if state[ST_NR_SLEEPS] == 0:
        state[ST_FIRST_SLEEP] = now_ns
    state[ST_LAST_SLEEP] = now_ns
    state[ST_NR_SLEEPS] += 1
    state[ST_NUMBER] += 2  # the question and its answer


@leaf
def end_read(mem: Mem, files: FileMappings, stream: Stream, disk: U64, at_ns: int) -> None:
    """Be done with the first request: its pages are filled at a time, and the task is woken.

    Source: Linux 6.1 block/blk-mq.c:blk_mq_end_request, fs/mpage.c:mpage_end_io
    """
    state = stream.state
    row = stream.flight[state[ST_HEAD]]
    state[ST_HEAD] = (state[ST_HEAD] + 1) % FLIGHT_MAX
    state[ST_NR_FLIGHT] -= 1
    state[ST_NR_AT_DEVICE] -= 1
    state[ST_NR_IN_FLIGHT] -= 1
    if state[ST_NR_IN_FLIGHT] == 0:
        state[ST_ACTIVE_NS] += at_ns - state[ST_ACTIVE_SINCE]
    if state[ST_SYNC_ISSUE] == row[Q_BEGAN]:
        state[ST_SYNC_ISSUE] = -1
    took_ns = at_ns - row[Q_BEGAN]
    is_first = state[ST_READ_MIN] < 0
    state[ST_READ_MIN] = took_ns if is_first else min(took_ns, state[ST_READ_MIN])
    state[ST_READ_NS] += took_ns
    state[ST_LAST_READ] = at_ns
    state[ST_IRQ_END] = at_ns
    state[ST_NUMBER] += 3  # the interrupt, the message to the node, the task
    start, nr = int(row[Q_START]), int(row[Q_NR])
    cached_run(files, int(state[ST_FILE]), start, nr, stream.pfns)
    end_page_read(mem, disk, stream.pfns, nr, READ_OK)
    done = stream.done[state[ST_NR_DONE]]
    for column in range(NR_Q_COLUMNS):
        done[column] = row[column]
    done[Q_AT] = at_ns
    state[ST_NR_DONE] += 1


@leaf
def wake(stream: Stream, at_ns: int) -> None:
    """Let the task run on the CPU it left.

    Source: Linux 6.1 kernel/sched/core.c:try_to_wake_up, kernel/sched/fair.c:place_entity
    """
    state = stream.state
    state[ST_SLEPT] += at_ns - state[ST_LAST_SLEEP]
    least_ns = state[ST_MIN_VRUNTIME] - state[ST_CREDIT]
    state[ST_VRUNTIME] = max(state[ST_VRUNTIME], least_ns)
    state[ST_NOW] = state[ST_SINCE] = state[ST_GOT_CPU] = at_ns
    state[ST_CHARGED_THEN] = state[ST_CHARGED]
    state[ST_NUMBER] += 2  # the question and its answer


@leaf
def submit(stream: Stream, window: int, start: int, nr: int) -> None:
    """Hand a request to the disk, which serves it at once beside the others.

    Source: Linux 6.1 block/blk-core.c:submit_bio
    """
    state = stream.state
    sent_ns = state[ST_NOW]
    spend(stream, int(state[ST_SUBMIT_NS]))
    now_ns = int(state[ST_NOW])
    if state[ST_NR_IN_FLIGHT] == 0:
        state[ST_ACTIVE_SINCE] = now_ns
    state[ST_NR_IN_FLIGHT] += 1
    state[ST_NR_AT_DEVICE] += 1
    state[ST_NR_IN_FLIGHT_MAX] = max(state[ST_NR_IN_FLIGHT_MAX], state[ST_NR_IN_FLIGHT])
    state[ST_LAST_READ] = now_ns
    if state[ST_SYNC_ISSUE] < 0:
        state[ST_SYNC_ISSUE] = now_ns
    latency_ns = int(state[ST_LATENCY])
    drawn_ns = spread_ns(
        int(state[ST_SEED]),
        state[ST_DRAWS : ST_DRAWS + 1],
        0,
        latency_ns,
        max(latency_ns, 1),
        int(state[ST_SPREAD]),
    )
    size = nr << _PAGE_SHIFT
    transfer_ns = int(state[ST_REQUEST_NS]) + size * _SECOND // int(state[ST_BANDWIDTH])
    at_ns = max(now_ns + drawn_ns, int(state[ST_PIPE_FREE])) + transfer_ns
    state[ST_PIPE_FREE] = at_ns
    state[ST_BUSY_NS] += transfer_ns
    state[ST_NUMBER] += 3  # the question, its answer, and between them what is to come
    row = stream.flight[(state[ST_HEAD] + state[ST_NR_FLIGHT]) % FLIGHT_MAX]
    state[ST_NR_FLIGHT] += 1
    state[ST_ASKED] += nr
    row[Q_WINDOW] = window
    row[Q_START] = start
    row[Q_NR] = nr
    row[Q_SENT] = sent_ns
    row[Q_BEGAN] = now_ns
    row[Q_AT] = at_ns
    row[Q_NUMBER] = state[ST_NUMBER] - 1
