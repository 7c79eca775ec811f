"""A run that somebody watches: keys hold it up and let it go, and change nothing in it."""

import json
from collections.abc import Iterator
from itertools import pairwise

import pytest

from kernelsim.live.pace import Pace
from kernelsim.report.machine_run import run_machine
from kernelsim.report.run_options import RunOptions
from kernelsim.units import NS_PER_MS, NS_PER_S
from kernelsim.workload.api import Workload
from tests.live.scripted import SIZE, hog, watched_run

pytestmark = [pytest.mark.mission("B6")]


def until_paused(pace: Pace) -> Iterator[str]:
    """Press nothing as long as time goes on."""
    while not pace.is_paused:
        yield ""


def test_a_pause_stops_the_virtual_clock_and_a_step_lets_a_known_time_pass():
    """It stands at 0 while paused, then at one step, two, a longer one; going on ends the run."""
    pace = Pace(step_ns=NS_PER_MS, is_paused=True)
    times: list[int] = []

    def keys(person):
        for key in ("", "", "s", "", "", "s", "", "]", "s", "", "[", "[", "s", "", ""):
            yield from until_paused(pace)
            times.append(person.now_ns)
            yield key
        yield "c"

    person, watch, outcome = watched_run(keys, pace)

    steps = [0, 0, 0, 1, 1, 1, 2, 2, 2, 12, 12, 12, 12, 12.1, 12.1]
    assert [int(step * NS_PER_MS) for step in steps] == times
    assert outcome.failure is None
    assert outcome.kernel.engine.ended.state == "done"
    assert outcome.kernel.engine.ended.now_ns == watch.view.t_ns > 12 * NS_PER_MS
    assert "ended (done)" in person.lines[1]


def test_space_pauses_a_run_that_goes_on():
    """From one space to the next the clock stands, in the middle of the run."""
    times: list[int] = []

    def keys(person):
        while person.now_ns < 3 * NS_PER_MS:
            yield ""
        yield " "
        for _ in range(3):
            times.append(person.now_ns)
            yield ""
        yield " "

    _, _, outcome = watched_run(keys, Pace())

    assert 1 == len(set(times))
    assert 3 * NS_PER_MS <= times[0] < outcome.kernel.engine.ended.now_ns


def test_what_is_added_in_a_step_is_told():
    """The counts behind each + are those of the step, though it was drawn meanwhile, too."""
    pace = Pace(step_ns=2 * NS_PER_MS, is_paused=True)
    told: list[tuple[int, int]] = []

    def keys(person):
        for _ in range(3):
            person.wall_ns += NS_PER_S  # so it draws whenever it looks
            yield "s"
            while not pace.is_paused:
                person.wall_ns += NS_PER_S
                yield ""
            yield ""
            assert "+ is since 2 ms" in person.lines[1]
            faults, added = person.lines[3].split()[1].split("+")
            told.append((int(faults), int(added)))
        yield "q"

    with pytest.raises(KeyboardInterrupt):
        watched_run(keys, pace)

    assert [added for _, added in told] == [now - was for was, now in pairwise([0, *dict(told)])]
    assert all(added for _, added in told)


def test_at_a_speed_virtual_time_follows_real_time():
    """At 10 ms a second, the run takes as many seconds as it has 10 ms."""
    person, _, outcome = watched_run(lambda _: iter(()), Pace(speed_ns=10 * NS_PER_MS))

    ended_ns = outcome.kernel.engine.ended.now_ns
    assert person.wall_ns == pytest.approx(ended_ns * 100, rel=0.05)
    assert "reached 10" in " ".join(picture.plain for picture in person.pictures[-4:])


def test_watching_changes_nothing(tmp_path):
    """The log, the samples and the tree are the same bytes with somebody watching and without."""
    alone, watched = tmp_path / "alone", tmp_path / "watched"
    options = RunOptions(machine="tiny-64m", progress=False, out=alone)
    run_machine(Workload(hog, "machine"), options, name="hog.py")
    watched_run(lambda _: iter(()), Pace(speed_ns=3 * NS_PER_MS), out=watched)

    files = [path.relative_to(alone) for path in alone.rglob("*") if path.is_file()]
    differing = [f for f in files if (alone / f).read_bytes() != (watched / f).read_bytes()]
    assert ["run.json"] == [str(file) for file in differing]  # it holds wall-clock times


def test_q_ends_the_run_and_what_it_wrote_stays(tmp_path):
    """As Ctrl-C does: run.json says interrupted, at the virtual time of the key."""
    pace = Pace(is_paused=True, step_ns=NS_PER_MS)

    def keys(person):
        yield "s"
        yield from until_paused(pace)
        yield "q"

    with pytest.raises(KeyboardInterrupt):
        watched_run(keys, pace, out=tmp_path / "out")

    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert ("interrupted", NS_PER_MS) == (run["exit_state"], run["virtual_ns"])
    assert (tmp_path / "out" / "proc" / "meminfo").is_file()


def test_pictures_fit_the_terminal():
    """Each has as many lines as the terminal, and none is longer; the keys are at the bottom."""
    person, watch, _ = watched_run(lambda _: iter(()), Pace(speed_ns=20 * NS_PER_MS))
    columns, rows = SIZE
    for picture in person.pictures:
        lines = picture.plain.split("\n")
        assert rows == len(lines)
        assert columns >= max(map(len, lines))

    person.keys = iter(["down", "", "q"])
    watch.hold()
    names = [line.split()[1] for line in person.lines if line.startswith("  10")]
    assert ["second"] == names[:1] or ["first"] == names  # the one that is left, or scrolled to
