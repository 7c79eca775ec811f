"""A naive model of the engine's actors: what the engine must do, written down plainly.

Interface: `Model(programs, schedule_seed).run()`; what the operations of a program are is said in
`test_actor_systems.py`.
"""

import functools

import trio

from kernelsim.sim.actor import STOP, ActorEndedError
from tests.property.wait_model import Cancelled, Scope, Wait, WaitModel

UNTIL_NS = 60
SERVERS = ("echo", "late", "grumpy", "putoff", "slow", "relay")
ERRORS = (ValueError, ActorEndedError, trio.EndOfChannel, trio.ClosedResourceError)


class Model(WaitModel):
    """Servers and processes that run programs."""

    def __init__(self, drawn, schedule_seed):
        super().__init__(schedule_seed, UNTIL_NS)
        self.start("main", lambda main: self.main(main, drawn))

    def main(self, task, drawn):
        """Start everybody, and wait for the processes."""
        for name in SERVERS:
            self.start(name, lambda task: self.actor(task, self.serve_all(task)))
        for number, program in enumerate(drawn):
            body = functools.partial(self.process, program)
            self.start(f"p{number}", lambda task, body=body: self.actor(task, body(task)))
        for number in range(len(drawn)):
            yield from self.join(task, self.tasks[f"p{number}"])
        self.end = "done"

    def actor(self, task, run):
        """Live and die as an actor."""
        self.emit(task, "ks_actor_start")
        task.scopes.append(task.scope)
        try:
            yield from run
            self.emit(task, "ks_actor_stop")
        except Cancelled:
            self.emit(task, "ks_actor_kill")
        except (ValueError, ZeroDivisionError) as error:
            self.emit(task, "ks_actor_crash", repr(error))
        task.ended = True
        for message, reply in task.inbox.values:
            if reply is None:
                self.emit(task, "ks_message_dropped", type(message).__name__)
        for reply in task.promises:
            self.wake(*reply, self.now, ActorEndedError())
        for joiner in task.joiners:
            self.wake(*joiner, self.now)

    def join(self, task, other):
        """Wait for another's end."""
        if not other.ended:
            wait = Wait()
            other.joiners.append((task, wait))
            yield wait

    def post(self, server, message, reply=None):
        """Put a message into a mailbox."""
        if server.ended:
            raise ActorEndedError
        if reply is not None:
            server.promises[reply] = None
        self.put(server.inbox, (message, reply))

    def ask(self, task, server, message):
        """Post a message and wait for the answer."""
        wait = Wait()
        # One that need not wait to serve hears this in the event of the message before, if it is
        # busy; a number is taken nevertheless, so that the order of others does not depend on that.
        self.number += server.name != "slow" and not server.ended and not server.inbox.receivers
        self.post(server, message, (task, wait))
        return (yield wait)

    def answer(self, server, reply, value, ns):
        """Answer an ask."""
        if reply is not None:
            del server.promises[reply]
            self.wake(*reply, ns, value)

    def serve_all(self, task):
        """Serve as the server's name says."""
        while True:
            message, reply = yield from self.receive(task, task.inbox)
            if message is STOP:
                return
            self.emit(task, "served", message)
            echo = self.tasks["echo"]
            if task.name == "late":
                self.answer(task, reply, message, self.now + 3)
            elif task.name == "grumpy":
                if reply is None:
                    raise ValueError(message)
                self.answer(task, reply, ValueError(message), self.now)
            elif task.name == "putoff" and reply is not None:
                task.kept.append(reply)
                if len(task.kept) > 1:
                    self.answer(task, task.kept.pop(0), message, self.now + 1)
            elif task.name == "relay" and not echo.ended:
                self.post(echo, f"{message} relayed")
            elif task.name == "slow":
                yield from self.sleep(task, 2)
            if task.name in {"echo", "relay", "slow"}:
                self.answer(task, reply, message, self.now)

    def process(self, program, task):
        """Run a program."""
        for operation in program:
            try:
                result = yield from self.operate(task, *operation)
            except ERRORS as error:
                result = type(error).__name__
            self.emit(task, operation[0], result)

    def operate(self, task, kind, what, ns=0):
        """Run one operation."""
        match kind:
            case "sleep":
                yield from self.sleep(task, what)
            case "ask":
                return (yield from self.ask(task, self.tasks[what], f"ask {task.name}"))
            case "tell":
                self.post(self.tasks[what], f"tell {task.name}")
            case "stop" if not self.tasks[what].ended:
                self.post(self.tasks[what], STOP)
            case "lock":
                spun_ns = yield from self.acquire(task, self.locks[what])
                try:
                    yield from self.sleep(task, ns)
                finally:
                    self.release(self.locks[what])
                return spun_ns
            case "serve":
                return (yield from self.serve(task, self.fifos[what], ns))
            case "send":
                yield from self.send(task, self.pipes[what], task.name)
            case "receive":
                return (yield from self.receive(task, self.pipes[what]))
            case "close":
                self.close(self.pipes[what])
            case "wait":
                wait = Wait()
                self.queues[what].append((task, wait))
                yield wait
            case "wake":
                return self.wake_one(self.queues[what])
            case "kill" if not self.tasks[f"p{what}"].ended:
                self.cancel(self.tasks[f"p{what}"].scope)
            case "join":
                yield from self.join(task, self.tasks[f"p{what}"])
            case "crash":
                raise ZeroDivisionError
            case "within":
                return (yield from self.within(task, what, ns))
        return None

    def wake_one(self, queue):
        """Wake the first sleeper."""
        while queue:
            if self.wake(*queue.pop(0), self.now):
                return 1
        return 0

    def within(self, task, ns, program):
        """Run a program with a time limit."""
        scope = Scope(task)
        outer = list(task.scopes)
        task.scopes.append(scope)
        self.at(self.now + ns, lambda: self.cancel(scope), scope)
        try:
            yield from self.process(program, task)
        except Cancelled:
            if any(scope.cancelled for scope in outer):
                raise
            return True
        finally:
            scope.stale = True
            task.scopes.pop()
        return False
