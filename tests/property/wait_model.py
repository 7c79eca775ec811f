"""A naive model of virtual time, channels and locks: a heap, generators and lists.

A task is a generator that yields each `Wait` of its own. Interface: `WaitModel.start` tasks, `run`;
`actor_model.py` builds actors of it.
"""

import heapq

import trio

from kernelsim.sim.event import mixed

CAPACITY = 2  # of both channels; values to the second are under way for 2 ns


class Cancelled(BaseException):
    """Thrown into a generator that waits inside a cancelled scope."""


class Wait:
    """One wait; `decided` once its end is known, `given` if at that very instant."""

    def __init__(self):
        self.decided = self.given = self.stale = False


class Scope:
    """A block that can be cancelled."""

    def __init__(self, owner):
        self.owner = owner
        self.cancelled = self.stale = False


class Task:
    """A generator and where it stands."""

    def __init__(self, number, name):
        self.number = number
        self.name = name
        self.scope = Scope(self)
        self.scopes = []
        self.wait = None
        self.ended = False
        self.joiners = []
        self.inbox = Pipe()
        self.promises = {}
        self.kept = []


class Pipe:
    """A channel or a mailbox."""

    def __init__(self, capacity=1 << 30, latency_ns=0):
        self.capacity = capacity
        self.latency_ns = latency_ns
        self.values, self.under_way = [], []
        self.receivers, self.senders = [], []
        self.closed = False


class Lock:
    """A spinlock, with everything that happened."""

    def __init__(self):
        self.holder = None
        self.spinners = []
        self.holds, self.waits = [], []


class WaitModel:
    """The rules, written down as plainly as possible."""

    def __init__(self, schedule_seed, until_ns):
        self.now = self.number = 0
        self.schedule_seed = schedule_seed
        self.heap, self.cancels, self.log = [], [], []
        self.end = None
        self.locks = [Lock(), Lock()]
        self.fifos = [Lock(), Lock()]
        self.queues = [[], []]
        self.pipes = [Pipe(CAPACITY), Pipe(CAPACITY, 2)]
        self.tasks = {}
        self.nr_tasks = 0
        self.until_ns = until_ns

    # Time.

    def at(self, ns, act, wait=None):
        """Let something happen at a time."""
        self.number += 1
        seed = self.schedule_seed
        tie = 0 if seed is None else mixed(seed, self.number)
        heapq.heappush(self.heap, (ns, tie, self.number, act, wait))

    def run(self):
        """Run to the end; return log, end, time and blame."""
        while self.end is None:
            if self.cancels:
                self.cancels.sort()
                task = self.tasks_by_number[self.cancels.pop(0)]
                self.step(task, Cancelled())
            elif not self.heap:
                self.end = "deadlock"
            else:
                ns, _, _, act, wait = heapq.heappop(self.heap)
                if wait is not None and wait.stale:
                    continue
                if ns > self.until_ns:
                    self.now, self.end = self.until_ns, "until"
                else:
                    self.now = ns
                    act()
        return self.log, self.end, self.now, self.blame()

    def start(self, name, body):
        """Start a task; its body begins as an event."""
        self.nr_tasks += 1
        task = Task(self.nr_tasks, name)
        self.tasks[name] = task
        self.tasks_by_number = {task.number: task for task in self.tasks.values()}
        task.generator = body(task)
        task.wait = wait = Wait()
        wait.decided = True
        self.at(self.now, lambda: self.step(task, None), wait)
        return task

    def step(self, task, given):
        """Run a task until it waits."""
        task.wait = None
        try:
            if isinstance(given, BaseException):
                wait = task.generator.throw(given)
            else:
                wait = task.generator.send(given)
        except StopIteration:
            return
        task.wait = wait
        if any(scope.cancelled for scope in task.scopes):
            self.abort(task)

    def wake(self, task, wait, ns, given=None):
        """End a wait, unless its end is decided."""
        if wait.decided:
            return False
        wait.decided, wait.given = True, ns == self.now
        self.at(ns, lambda: self.step(task, given), wait)
        return True

    def cancel(self, scope):
        """Cancel what a scope's task waits for inside it."""
        if not scope.stale and not scope.cancelled:
            scope.cancelled = True
            if (
                scope in scope.owner.scopes
                and scope.owner.wait is not None
                and scope.owner.number not in self.cancels
            ):
                self.abort(scope.owner)

    def abort(self, task):
        """Let a waiting task be cancelled, unless it has just been given something."""
        wait = task.wait
        if wait.decided and wait.given:
            return
        wait.stale = wait.decided = True
        self.cancels.append(task.number)

    def sleep(self, task, ns):
        """Wait for a time."""
        wait = Wait()
        self.wake(task, wait, self.now + ns)
        wait.given = False
        yield wait

    def emit(self, task, event, *fields):
        """Log an event."""
        if self.end is None:
            self.log.append((self.now, task.name, event, *fields))

    # Pipes, locks.

    def put(self, pipe, value):
        """Send a value on its way."""
        if pipe.latency_ns:
            pipe.under_way.append(value)
            self.at(self.now + pipe.latency_ns, lambda: self.deliver(pipe))
        else:
            self.arrive(pipe, value)

    def deliver(self, pipe):
        """Let the oldest value under way arrive."""
        self.arrive(pipe, pipe.under_way.pop(0))
        self.end_receivers(pipe)

    def arrive(self, pipe, value):
        """Give a value to the first receiver, or keep it."""
        while pipe.receivers:
            if self.wake(*pipe.receivers.pop(0), self.now, value):
                self.admit(pipe)
                return
        pipe.values.append(value)

    def admit(self, pipe):
        """Let the first waiting sender send."""
        while pipe.senders:
            task, wait, value = pipe.senders.pop(0)
            if self.wake(task, wait, self.now):
                self.put(pipe, value)
                return

    def end_receivers(self, pipe):
        """Tell receivers that nothing comes any more."""
        if pipe.closed and not pipe.under_way:
            while pipe.receivers:
                self.wake(*pipe.receivers.pop(0), self.now, trio.EndOfChannel())

    def send(self, task, pipe, value):
        """Send a value, waiting for room."""
        if pipe.closed:
            raise trio.ClosedResourceError
        if len(pipe.values) + len(pipe.under_way) < pipe.capacity:
            self.put(pipe, value)
            return
        wait = Wait()
        pipe.senders.append((task, wait, value))
        yield wait

    def receive(self, task, pipe):
        """Take a value, waiting for one."""
        if pipe.values:
            value = pipe.values.pop(0)
            self.admit(pipe)
            return value
        if pipe.closed and not pipe.under_way:
            raise trio.EndOfChannel
        wait = Wait()
        pipe.receivers.append((task, wait))
        return (yield wait)

    def close(self, pipe):
        """Close the sending end."""
        pipe.closed = True
        while pipe.senders:
            task, wait, _ = pipe.senders.pop(0)
            self.wake(task, wait, self.now, trio.ClosedResourceError())
        self.end_receivers(pipe)

    def acquire(self, task, lock):
        """Take a lock."""
        began = self.now
        if lock.holder is None:
            self.grant(lock, task)
            return 0
        wait = Wait()
        lock.spinners.append((task, wait, began))
        try:
            yield wait
        except Cancelled:
            lock.waits.append((task.name, began, self.now))
            raise
        return self.now - began

    def grant(self, lock, task):
        """Give a lock."""
        lock.holder = task
        lock.holds.append([task.name, self.now, None])

    def release(self, lock):
        """Pass a lock on."""
        lock.holder = None
        lock.holds[-1][2] = self.now
        while lock.spinners:
            task, wait, began = lock.spinners.pop(0)
            if self.wake(task, wait, self.now):
                lock.waits.append((task.name, began, self.now))
                self.grant(lock, task)
                return

    def serve(self, task, fifo, ns):
        """Queue at a server, behind everything reserved before."""
        began = self.now
        begin = max([began, *(end for _, _, end in fifo.holds)])
        fifo.holds.append((task.name, begin, begin + ns))
        fifo.waits.append((task.name, began, begin))
        yield from self.sleep(task, begin + ns - began)
        return begin - began

    def blame(self):
        """Say who waited how long on whom."""
        blame = {}
        for number, lock in enumerate(self.locks):
            waits = list(lock.waits)
            for task, wait, began in lock.spinners:
                if not wait.decided:
                    waits.append((task.name, began, self.now))
            blame[f"lock{number}"] = self.overlaps(waits, lock.holds)
        for number, fifo in enumerate(self.fifos):
            blame[f"server{number}"] = self.overlaps(fifo.waits, fifo.holds)
        return blame

    def overlaps(self, waits, holds):
        """Compare each wait with each hold."""
        pairs = {}
        for waiter, since, until in waits:
            for holder, begin, end in holds:
                ns = min(until, self.now if end is None else end) - max(since, begin)
                if ns > 0:
                    pairs[waiter, holder] = pairs.get((waiter, holder), 0) + ns
        return pairs
