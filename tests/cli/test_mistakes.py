"""Tests of authors' mistakes: each is one line with the place, status 2, and no bug of ours."""

import pytest

from kernelsim.cli import main as cli

WORKLOAD = """import trio
from kernelsim.errors import SyscallError
from kernelsim.workload import workload

async def no_argument():
    pass

async def waits(process):
    await trio.sleep_forever()

async def idle(process):
    await process.sleep("1ms")
    await process.wait()

@workload(machine="small.toml")
async def main(machine):
    hog = await machine.spawn("hog")
    region = await hog.mmap("1M")
"""
FIRST = WORKLOAD.count("\n") + 1  # line of what is added
SIMULATION = """import trio
from kernelsim.sim.actor import Actor
from kernelsim.workload import simulation

class Silent(Actor):
    async def receive(self, message):
        await self.engine.wait_queue("godot").wait()

class Faulty(Actor):
    def receive(self, message):
        raise LookupError(message)

@simulation
async def main(engine):
    await engine.sleep(4)
"""
FIRST_OF_SIMULATION = SIMULATION.count("\n") + 1
TOLD = "what it is told to do next"
NOTHING = "nothing can happen any more at"
NURSERY = "async with trio.open_nursery() as nursery:\n        nursery.start_soon"


@pytest.mark.parametrize(
    ("body", "line", "said"),
    [
        # waiting for what never comes: what waits for what
        (
            "await machine.sleep('1s')\n    await hog.wait()",
            1,
            f"{NOTHING} 1 s: main waits for exit of hog-100; hog-100 waits for {TOLD}",
        ),
        ("await trio.sleep_forever()", 0, "main waits for trio.sleep_forever"),
        ("await machine._machine.engine.wait_queue('godot').wait()", 0, "main waits for godot"),
        (
            "await (await machine.spawn('a', waits)).wait()",
            0,
            f"main waits for exit of a-101; a-101 waits for {TOLD}; a-101/program waits for trio.",
        ),
        (
            "await (await machine.spawn('a', idle)).wait()",
            0,
            "a-101/program waits for exit of a-101",
        ),
        # time that does not pass, or not the run's
        ("while True: await machine.sleep(0)", 0, "time stands still; main is woken again and"),
        ("await trio.sleep(1)", 0, "main waits in trio.sleep, outside of the run: `await machine."),
        (f"{NURSERY}(trio.sleep, 1)", 0, "main waits in trio.__aexit__, outside of the run"),
        # await that was forgotten
        ("hog.touch(region)", 0, "ProcessHandle.touch was called without await and did nothing"),
        (
            "await machine.sleep(5)\n    machine.sleep(5)",
            1,
            "MachineHandle.sleep was called without",
        ),
        ("x = hog.touch(region)\n    await machine.sleep(5)", 0, "ProcessHandle.touch was called"),
        ("machine.spawn('a')\n    await machine.sleep('1s')", 0, "MachineHandle.spawn was called"),
        ("waits(hog)", 0, "waits was called without await"),
        ("machine._machine.engine.sleep(5)", 0, "VirtualClock.sleep was called without await"),
        # programs
        ("await machine.spawn('a', no_argument)", 0, "a program takes one argument, as in async"),
        ("await machine.spawn('a', lambda a, b: 5)", 0, "a program takes one argument, as in"),
        ("await machine.spawn('a', 5)", 0, "a program is an async function of its process, not 5"),
        # exceptions of the author's
        ("raise KeyboardInterrupt", 0, "KeyboardInterrupt"),
        ("raise SystemExit(0)", 0, "SystemExit: 0"),
        ("raise SyscallError(12, 'mmap')", 0, "mmap: ENOMEM (Cannot allocate memory)"),
        # in a nursery
        (f"{NURSERY}(hog.touch, region)", 0, "a nursery's task cannot wait in virtual time"),
        (f"{NURSERY}(hog.munmap, 5)", 0, "munmap wants a mapping, as mmap returns it, not 5"),
        (
            "async def bad():\n        1 / 0\n    " + NURSERY + "(bad)",
            1,
            "ZeroDivisionError: division by zero",
        ),
    ],
)
def test_a_mistake_in_a_workload_is_one_line(run_file, body, line, said):
    """With the author's line, and run.json says the same."""
    status, _, err, record = run_file(f"{WORKLOAD}    {body}\n")
    assert err.startswith(f"kernelsim: w.py:{FIRST + line}: ")
    assert said in err
    assert (status, err.count("\n")) == (cli.EXIT_WRONG_USE, 1)
    assert err == f"kernelsim: {record['detail']}\n"


@pytest.mark.parametrize(
    ("body", "line", "said"),
    [
        (
            "await engine.spawn(Silent('silent')).ask(1)",
            FIRST_OF_SIMULATION,
            f"{NOTHING} 4 ns: main waits for answer of silent; silent waits for godot",
        ),
        ("await engine.spawn(Faulty('f')).ask('no page')", 11, "LookupError: no page"),
        (
            "engine.spawn(Faulty('f')).tell('no page')\n    await engine.sleep(5)",
            11,
            "LookupError: no page",
        ),
        ("engine.sleep(5)", FIRST_OF_SIMULATION, "VirtualClock.sleep was called without await"),
        ("await trio.sleep(5)", FIRST_OF_SIMULATION, "main waits in trio.sleep, outside of the"),
        ("raise KeyboardInterrupt", FIRST_OF_SIMULATION, "KeyboardInterrupt"),
    ],
)
def test_a_mistake_in_a_simulation_is_one_line(run_file, body, line, said):
    """All actors are the author's there, and so are their crashes and deadlocks."""
    status, _, err, _ = run_file(f"{SIMULATION}    {body}\n")
    assert err.startswith(f"kernelsim: w.py:{line}: ")
    assert said in err
    assert (status, err.count("\n")) == (cli.EXIT_WRONG_USE, 1)


def test_a_file_may_raise_anything_while_it_is_loaded(run_file):
    """A KeyboardInterrupt of the author's own is no Ctrl-C."""
    status, _, err, record = run_file("x = 1\nraise KeyboardInterrupt\n")
    assert (status, err) == (cli.EXIT_WRONG_USE, "kernelsim: w.py:2: KeyboardInterrupt\n")
    assert record is None


def test_what_is_awaited_later_was_not_forgotten(run_file):
    """A call may be kept and awaited when it is needed."""
    body = "calls = [hog.touch(region), machine.sleep(5)]\n    for call in calls: await call"
    assert run_file(f"{WORKLOAD}    {body}\n")[0] == cli.EXIT_DONE


def test_the_whole_traceback_on_demand(run_file):
    """--traceback shows where it came through, before the one line; nothing else does."""
    text = f"{WORKLOAD}    async def bad():\n        1 / 0\n    {NURSERY}(bad)\n"
    brief = run_file(text)[2]
    whole = run_file(text, "--traceback")[2]
    assert "Traceback" not in brief
    assert whole.splitlines()[-1] == brief.strip()
    for part in ("ExceptionGroup", "ZeroDivisionError: division by zero", "1 / 0", "in bad"):
        assert part in whole


def test_a_bug_of_ours_is_still_one(run_file, monkeypatch):
    """A kernel that waits for what never comes is status 3, though main waits as well."""

    async def lose_itself(handler, _message):
        await handler.engine.wait_queue("a page").wait()

    monkeypatch.setattr("kernelsim.actors.space.fault_handler.FaultHandler.receive", lose_itself)
    text = f"{WORKLOAD}    await hog.touch(region)\n"
    status, _, err, _ = run_file(text, "--burst-pages=1")  # a burst would serve the fault itself
    assert status == cli.EXIT_OUR_BUG
    assert err.startswith("deadlock at ")
    assert "waits for wait queue a page" in err
    assert "replay: kernelsim run w.py" in err
