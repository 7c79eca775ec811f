"""Golden test of the lines of workload.out: recorded lines, read and written, are the same."""

import re
from pathlib import Path

import pytest

from kernelsim.workload.script.script_output import (
    MEM_KEYS,
    MEMINFO_KEYS,
    StepReport,
    command_line,
    fields_line,
    mem_line,
    meminfo_line,
    pointer,
    snapshot_lines,
    step_line,
    verbatim_lines,
    vmdelta_lines,
)

CASES = Path(__file__).parents[2] / "oracle" / "cases"
NS_PER_MS = 1_000_000


def pairs(text):
    """Read `KEY=VALUE` words; whole numbers become ints."""
    words = (word.split("=", 1) for word in text.split())
    return [(key, int(value) if value.isdigit() else value) for key, value in words]


def rewrite_step(match, _):
    """Read a step line and write it."""
    fields = pairs(match[0])
    known = dict(fields[:8])
    report = StepReport(
        proc=known["proc"],
        step=known["step"],
        op=known["op"],
        ret=int(known["ret"]),
        errno=known["errno"],
        minflt=known["minflt"],
        majflt=known["majflt"],
        duration_ns=known["ms"] * NS_PER_MS + 999_999,
        fields=tuple(fields[8:]),
    )
    return [step_line(report)]


def rewrite_deltas(match, lines):
    """Read all the deltas of one label and write them from the counters before and after."""
    before, now = {"unchanged": 5}, {"unchanged": 5}
    while lines and lines[0].startswith(f"vmdelta label={match[1]} "):
        (_, _), (key, delta), (_, value) = pairs(lines.pop(0).removeprefix("vmdelta "))
        now[key] = int(value)
        before[key] = int(value) - int(delta)
    return vmdelta_lines(match[1], before, now)


def rewrite_file(match, lines):
    """Read a verbatim file and write it."""
    text = []
    while not lines[0].startswith(f"proc={match[1]} end="):
        text.append(lines.pop(0) + "\n")
    lines.pop(0)
    return verbatim_lines(match[1], match[2], "".join(text))


def rewrite_snapshot(match, lines):
    """Read the two lines of a snapshot and write them."""
    done = re.fullmatch(r"proc=(\S+) snapshot=\S+ ms=(\d+)", lines.pop(0))
    return snapshot_lines(done[1], match[1], int(done[2]) * NS_PER_MS)


KINDS = [
    (r"@@CMD (\d+): (.*)", lambda m, _: [command_line(int(m[1]), m[2])]),
    (r"proc=(\S+) step=\d+ op=.*", rewrite_step),
    (r"proc=(\S+) mem (.*)", lambda m, _: [mem_line(m[1], dict(pairs(m[2])))]),
    (r"proc=(\S+) meminfo_kB (.*)", lambda m, _: [meminfo_line(m[1], dict(pairs(m[2])))]),
    (r"vmdelta label=(\S+) .*", rewrite_deltas),
    (r"proc=(\S+) begin=(\S+)", rewrite_file),
    (r"\[snapshot (\S+)\]", rewrite_snapshot),
]


@pytest.mark.parametrize("case", ["d02", "d04_sw60", "d04_sw60_r2"])
def test_recorded_lines_come_back(case):
    """Every line of a recorded workload.out, read into values and written, is the same."""
    text = (CASES / case / "workload.out").read_text()
    lines, written = text.splitlines(), []
    while lines:
        for pattern, rewrite in KINDS:
            if match := re.fullmatch(pattern, lines[0]):
                if rewrite is not rewrite_deltas:
                    lines.pop(0)
                written += rewrite(match, lines)
                break
        else:
            pytest.fail(f"no writer for {lines[0]!r}")

    assert text.splitlines() == written


def test_keys_are_those_recorded_and_no_other():
    """A figure too many is left out, the order is fixed."""
    figures = dict.fromkeys([*MEMINFO_KEYS[::-1], "MemTotal", *MEM_KEYS], 1)

    assert len(MEMINFO_KEYS) == meminfo_line("A", figures).count("=1")
    assert mem_line("A", figures).startswith("proc=A mem VmPeak_kB=1 VmSize_kB=1 ")


def test_failed_steps_show_their_error():
    """A failed step has ret -1 and its errno."""
    report = StepReport("A", 3, "mmap:a:100T", -1, 12, 0, 0, 1_999_999)

    assert "proc=A step=3 op=mmap:a:100T ret=-1 errno=12 minflt=0 majflt=0 ms=1" == step_line(
        report
    )


def test_lines_of_other_steps():
    """Progress and pointers look as recorded."""
    assert "proc=E grown_kB=16384" == fields_line("proc=E", [("grown_kB", 16384)])
    assert "0x7f89cc499000" == pointer(0x7F89CC499000)
