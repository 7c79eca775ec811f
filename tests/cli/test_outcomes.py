"""Tests of what the simulated kernel does to a workload, and of what the workload expects of it.

Each ends a run with a whole summary, and with status 1 unless the workload deals with it.
"""

import re

import pytest

from kernelsim.cli import main as cli

HEAD = """from kernelsim.errors import KernelPanicError, ProcessEndedError
from kernelsim.workload import workload

"""
HOG = """
async def fill(machine, name="hog"):
    hog = await machine.spawn(name)
    return hog, await hog.touch(await hog.mmap("32M"), write=True)
"""
MAIN = """
@workload(machine="small.toml"{options})
async def main(machine):
"""
PROTECTED = "    only = await machine.spawn('only', oom_score_adj=-1000)\n"
PANIC = f"{PROTECTED}    await only.touch(await only.mmap('32M'), write=True)\n"


@pytest.fixture
def run(run_file):
    """Run the body of a workload's main; return status, stdout, stderr and run.json."""

    def run_body(body, *words, options=', settings={"vm.overcommit_memory": 1}'):
        return run_file(HEAD + HOG + MAIN.replace("{options}", options) + body, *words)

    return run_body


def line_of(text):
    """Return the line of the workload's file that a part of its main's text stands in."""
    head = HEAD + HOG + MAIN
    return head.count("\n") + 1 + text.count("\n")


def test_all_expectations_are_evaluated(run):
    """Those that fail stop nothing; summary, notes, status 1, each failure with its line."""
    first = line_of("")
    status, out, err, record = run(
        "    machine.expect(1 > 2, 'not all of it fits')\n"
        "    await machine.sleep('1234ms')\n"
        "    machine.expect(True, 'pigs sleep')\n"
        "    for step in range(3):\n"
        "        machine.expect(step, 'no step is 0')\n"
        "    machine.note('the end is reached')\n"
    )
    failures = [
        f"FAILED w.py:{first}: not all of it fits (at 0 ns)",
        f"FAILED w.py:{first + 4}: no step is 0 (at 1.234 s, 1 of 3 times)",
    ]
    assert status == cli.EXIT_CHECK_FAILED
    assert out.startswith("ended           done, and failed\nexpectations    2 of 3 FAILED\n")
    assert "\nexpectations\n{}\n{}\n\nnotes\nthe end is reached\n".format(*failures) in out
    assert err == f"kernelsim: {failures[0]}; {failures[1]}\n"
    assert record["exit_state"] == "failed"
    assert record["notes"] == ["the end is reached"]
    assert [
        (each["line"], each["text"], each["nr_held"], each["nr_failed"])
        for each in record["expectations"]
    ] == [
        (first, "not all of it fits", 0, 1),
        (first + 2, "pigs sleep", 1, 0),
        (first + 4, "no step is 0", 2, 1),
    ]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("machine.expect('it holds')", "not expect('it holds', '')"),
        ("machine.expect('it holds', 1 > 2)", "not expect('it holds', False)"),
        ("machine.expect(1 > 0, 5)", "not expect(True, 5)"),
        ("machine.expect(machine.sleep(5), 'x')", "not expect(<coroutine object Machine"),
        ("machine.expect(lambda: False, 'x')", "not expect(<function"),
        ("import numpy; machine.expect(numpy.zeros(2), 'x')", "is neither true nor false"),
    ],
)
def test_an_expectation_without_a_condition_is_a_mistake(run, call, said):
    """A text, a function or an array is no condition: one line, status 2."""
    status, _, err, _ = run(f"    {call}\n")
    assert status == cli.EXIT_WRONG_USE
    assert err.startswith(f"kernelsim: w.py:{line_of('')}: expect takes a condition and a text")
    assert said in err
    assert err.count("\n") == 1


def test_a_mistake_does_not_hide_what_failed_before(run):
    """The mistake comes first, with its line; the failed expectation is told too."""
    status, _, err, record = run("    machine.expect(0, 'pigs fly')\n    1 / 0\n")
    first = line_of("")
    assert status == cli.EXIT_WRONG_USE
    assert err == (
        f"kernelsim: w.py:{first + 1}: ZeroDivisionError: division by zero; "
        f"FAILED w.py:{first}: pigs fly (at 0 ns)\n"
    )
    assert record["expectations"][0]["nr_failed"] == 1


def test_a_failure_counts_at_the_time_limit_too(run):
    """A run that its limit ends has status 1 for what failed before; what came later is said."""
    body = (
        "    machine.expect(False, 'pigs fly')\n"
        "    await machine.sleep('1s')\n"
        "    machine.expect(\n        True, 'pigs sleep'\n    )\n"
    )
    status, out, _, record = run(body, "--until", "5ms")
    assert status == cli.EXIT_CHECK_FAILED
    assert out.startswith("ended           until: virtual time reached")
    assert f"\nnot reached: those of line {line_of('') + 2}\n" in out
    assert record["expectations_not_reached"] == [line_of("") + 2]


def test_a_panic_is_a_failure_told_first(run):
    """Status 1; summary with the console; what was expected before and after it is said."""
    body = (
        "    machine.expect(False, 'pigs fly')\n"
        + PANIC
        + "    machine.expect(True, 'never got to')\n"
    )
    status, out, err, record = run(body)
    why = "System is deadlocked on memory"
    assert status == cli.EXIT_CHECK_FAILED
    assert out.startswith(f"ended           panic: {why}\nexpectations    1 of 1 FAILED\n")
    assert f"Kernel panic - not syncing: {why}\n" in out
    assert f"not reached: those of line {line_of('') + 3}\n" in out
    assert err.startswith(f"kernelsim: kernel panic: {why} (at ")
    assert f"; FAILED w.py:{line_of('')}: pigs fly (at 0 ns)" in err
    assert record["exit_state"] == "panic"


def test_the_kernel_log_is_a_file_of_the_run(run, tmp_path, capsys):
    """An OOM report is in it whole, and on the screen only its last line; `show` prints it."""
    status, out, _, _ = run(KILLED)
    log = (tmp_path / "out" / "dmesg").read_text()
    assert status == 0
    assert re.match(r"\[    0\.\d{6}\] hog invoked oom-killer: gfp_mask=0x140dca\(", log)
    killed = log.splitlines()[-1]
    assert killed.split("] ")[1].startswith("Out of memory: Killed process 100 (hog)")
    assert f"\nconsole\n{killed}\n" in out
    assert "Mem-Info" not in out
    capsys.readouterr()
    assert cli.exit_status(["show", str(tmp_path / "out"), "dmesg"]) == 0
    assert capsys.readouterr().out == log
    assert cli.exit_status(["show", str(tmp_path / "out")]) == 0
    assert "free ps dmesg\n" in capsys.readouterr().out


def test_a_workload_can_look_at_a_panicked_machine(run):
    """It catches the panic, states what it expects and reads counters; the run still failed."""
    body = PROTECTED + (
        "    try:\n"
        "        await only.touch(await only.mmap('32M'), write=True)\n"
        "    except KernelPanicError as panic:\n"
        "        machine.note(f'caught: {panic}')\n"
        "    machine.expect(only.stats.rss_pages > 1000, 'it had it all')\n"
        "    while True:\n"
        "        try:\n"
        "            await machine.sleep('1s')\n"
        "        except Exception as error:\n"
        "            machine.note(f'again: {error}')\n"
    )
    status, out, err, record = run(body)
    assert status == cli.EXIT_CHECK_FAILED
    assert record["notes"] == ["caught: kernel panic: System is deadlocked on memory"]
    assert "expectations    1 held\n" in out
    assert "FAILED" not in err
    assert err.startswith("kernelsim: kernel panic: ")


KILLED = "    hog, result = await fill(machine)\n    assert result.signal == 9\n"


@pytest.mark.parametrize(
    "call",
    ["mmap('1M')", "sleep('1s')", "start_image()", "exit()", "brk(4096)", "touch_pages([1], [1])"],
)
def test_a_call_of_a_killed_process_ends_main_with_the_whole_summary(run, call):
    """It is no wrong use: status 1, the line, the signal, the console."""
    status, out, err, record = run(f"{KILLED}    await hog.{call}\n")
    text = (
        f"w.py:{line_of('') + 2}: process hog (100) was killed by SIGKILL and can do nothing more"
    )
    assert (status, err) == (cli.EXIT_CHECK_FAILED, f"kernelsim: {text}\n")
    assert out.startswith(f"ended           failed: {text}\n")
    assert "Out of memory: Killed process 100 (hog)" in out
    assert "100  hog   SIGKILL" in out
    assert (record["exit_state"], record["detail"]) == ("failed", text)


def test_a_workload_can_catch_the_end_of_a_process(run):
    """The exception carries status and signal; `wait` still answers; the run goes on."""
    status, out, _, _ = run(
        KILLED + "    try:\n"
        "        await hog.mmap('1M')\n"
        "    except ProcessEndedError as ended:\n"
        "        machine.expect((ended.pid, ended.status, ended.signal) == (100, -9, 9), 'told')\n"
        "    machine.expect(await hog.wait() == -9, 'its status')\n"
        "    other = await machine.spawn('other')\n"
        "    await other.exit(3)\n"
        "    try:\n"
        "        await other.mmap('1M')\n"
        "    except ProcessEndedError as ended:\n"
        "        machine.expect((ended.status, ended.signal) == (3, 0), 'no signal')\n"
        "        machine.note(str(ended))\n"
    )
    assert status == cli.EXIT_DONE
    assert "expectations    3 held\n" in out
    assert "process other (101) has exited with status 3 and can do nothing more\n" in out


def test_a_segfault_ends_its_process_only(run):
    """Also in a program; the others and the workload go on."""
    status, out, _, _ = run(
        "    async def stray(process):\n"
        "        await process.touch_pages([1], [1])\n"
        "        await process.mmap('1M')\n"
        "    first = await machine.spawn('first', stray)\n"
        "    machine.expect(await first.wait() == -11, 'SIGSEGV')\n"
        "    second = await machine.spawn('second')\n"
        "    machine.expect((await second.touch_pages([1], [1])).signal == 11, 'SIGSEGV')\n"
        "    third = await machine.spawn('third')\n"
        "    await third.touch(await third.mmap('1M'), write=True)\n"
    )
    assert status == cli.EXIT_DONE
    assert "expectations    2 held\n" in out
    assert out.count("SIGSEGV") == 2


def test_a_program_that_uses_another_process_which_has_ended(run):
    """Nobody catches it: that is an outcome too, with the line in the program."""
    status, _, err, _ = run(
        KILLED + "    async def curious(process):\n"
        "        await hog.mmap('1M')\n"
        "    await (await machine.spawn('curious', curious)).wait()\n"
    )
    assert status == cli.EXIT_CHECK_FAILED
    assert err.startswith(f"kernelsim: w.py:{line_of('') + 3}: process hog (100) was killed by SIG")


def test_a_segfault_ends_its_process_and_nothing_else(run, tmp_path):
    """Its line is in the kernel log, not on the console; the run goes on and succeeds."""
    status, out, _, _ = run(
        "    bad, good = await machine.spawn('bad'), await machine.spawn('good')\n"
        "    region = await bad.mmap('1M')\n"
        "    touched = await bad.touch(region, write=True, length='9G')\n"
        "    machine.expect((touched.signal, await bad.wait()) == (11, -11), 'SIGSEGV')\n"
        "    await good.touch(await good.mmap('1M'))\n"
    )
    assert (status, "console" in out) == (0, False)
    [line] = (tmp_path / "out/dmesg").read_text().splitlines()
    assert re.search(r"\] bad\[100\]: segfault at [0-9a-f]+ ip .* error 6 in init\[400000\+", line)
    assert "expectations    1 held" in out


def test_oom_score_adj_goes_down_for_root_only(run):
    """Others may go as far down as root has set it last, and up; else EACCES."""
    status, _, _, _ = run(
        "    from kernelsim.errors import SyscallError\n"
        "    process = await machine.spawn('p', oom_score_adj=100)\n"
        "    process.oom_score_adj = 50\n"
        "    process.uid = 1000\n"
        "    process.oom_score_adj = 200\n"
        "    process.oom_score_adj = 50\n"
        "    try:\n"
        "        process.oom_score_adj = 49\n"
        "    except SyscallError as error:\n"
        "        machine.expect(error.errno == 13, 'EACCES')\n"
        "    else:\n"
        "        machine.expect(False, 'refused')\n"
        "    machine.expect(process.oom_score_adj == 50, 'it stays')\n"
    )
    assert status == 0


def test_a_comm_has_fifteen_bytes(run):
    """A longer name is cut, never inside a letter."""
    status, _, _, _ = run(
        "    p = await machine.spawn('a-name-of-more-than-15')\n"
        "    machine.expect(p.name == 'a-name-of-more-', 'cut')\n"
        "    p.name = 'äääääääää'\n"
        "    machine.expect(p.name == 'äääääää', 'fourteen bytes')\n"
    )
    assert status == 0
