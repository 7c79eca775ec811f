"""OOM reports as kernels of several ages log them, and the machines they come from."""

import re
import tomllib

import pytest

from kernelsim.config.from_oom import machine_from_oom
from kernelsim.config.machine_file import machine_from_toml, machine_text
from kernelsim.config.oom_report import parse_oom_report
from kernelsim.errors import RecordingError
from tests.oom_text import OLD, TOTAL_KB, report

PLAIN = report()
STAMP = "[ 1234.567890] "
WAYS = {
    "as it is": PLAIN,
    "with stamps": re.sub("^", STAMP, PLAIN, flags=re.MULTILINE),
    "with dates": re.sub("^", "[Mon Jan  1 00:00:00 2024] ", PLAIN, flags=re.MULTILINE),
    "from the journal": re.sub("^", "Jan 01 00:00:00 host kernel: ", PLAIN, flags=re.MULTILINE),
    "from syslog": re.sub("^", f"Jan  1 00:00:00 host kernel: {STAMP}", PLAIN, flags=re.MULTILINE),
    "with levels": re.sub("^", "<4>", PLAIN, flags=re.MULTILINE),
    "quoted": re.sub("^", "> ", PLAIN, flags=re.MULTILINE),
    "with line ends of DOS": PLAIN.replace("\n", "\r\n"),
    "in a long log": f"[    0.000000] Linux version 6.1\n{PLAIN}{OLD}",
}


@pytest.mark.mission("B5")
@pytest.mark.parametrize("text", WAYS.values(), ids=WAYS)
def test_a_log_is_read_whatever_kept_it(text):
    """Stamps, hosts and quotes are no part of the report; the first of several is taken."""
    assert parse_oom_report(text) == parse_oom_report(PLAIN)


def test_what_a_report_says():
    """Who asked, zones in pages without their boost, swap, tasks by the head's columns."""
    found = parse_oom_report(PLAIN)
    assert (found.invoker, found.invoker_pid, found.order, found.nr_cpus) == ("java", 900, 0, 2)
    assert found.swap_kb == {"Free": 0, "Total": TOTAL_KB}
    dma32 = found.zones[1].sizes
    assert [dma32[key] for key in ("free", "min", "low", "high", "managed")] == [
        *(450, 244, 294, 344),
        10240,
    ]
    assert found.zones[0].protection == (0, 30, 30, 30, 30)
    last = found.tasks[-1]
    assert (last.name, last.rss, last.swapents, last.oom_score_adj) == (
        "cache server",
        2500,
        1000,
        300,
    )
    assert found.killed is not None
    assert (found.killed.pid, found.killed.nr_pages) == (901, 13000)


def test_columns_of_newer_kernels():
    """6.x also prints what of the memory is of files; the head says which column is which."""
    head, row = "rss pgtables_bytes", r"^(\[ +\d+\] +\d+ +\d+ +\d+ +\d+)"
    text = PLAIN.replace(head, "rss rss_anon rss_file rss_shmem pgtables_bytes")
    text = re.sub(row, r"\1 7 8 9", text, flags=re.MULTILINE)
    assert parse_oom_report(text).tasks == parse_oom_report(PLAIN).tasks


def test_a_report_of_3_10():
    """Counters of zones, nr_ptes, "Kill process … or sacrifice child": who was killed counts."""
    found = parse_oom_report(OLD)
    assert found.is_old
    assert [task.name for task in found.tasks] == ["httpd", "(sd-pam)"]
    assert found.killed == found.tasks[0]
    assert [task.pgtables_bytes for task in found.tasks] == [30 * 4096, 30 * 4096]
    machine = machine_from_oom(found)
    assert machine.era.name == "classic"
    assert machine.nr_cpus == 4


def test_the_machine_of_a_report():
    """Zones lie as on a PC, marks and reserves are the report's, all is free; it survives TOML."""
    machine = machine_from_oom(parse_oom_report(PLAIN))
    dma, dma32 = machine.nodes[0].zones[:2]
    assert (dma.start_pfn, dma.spanned_pages, dma32.start_pfn) == (1, 4095, 4096)
    assert [zone.watermark_min for zone in machine.boot.zones] == [22, 244]
    assert machine.swaps[0].size_bytes == (TOTAL_KB << 10) + 4096
    assert machine == machine_from_toml(tomllib.loads(machine_text(machine)))


def test_nodes_of_a_report():
    """Each node has its zones, above those of the node before, and its share of the CPUs."""
    node_1 = (
        "Node 1 Normal free:40kB min:40kB low:50kB high:60kB present:9000kB managed:8000kB\n"
        "lowmem_reserve[]: 0 0 0 0 0\nFree swap  ="
    )
    machine = machine_from_oom(parse_oom_report(PLAIN.replace("Free swap  =", node_1)))
    assert [node.cpus for node in machine.nodes] == [(0,), (1,)]
    assert machine.nodes[1].start_pfn == 1 << 20


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("hello\n", 'OOM report: has no OOM report: no line with "invoked oom-killer:"'),
        (PLAIN.split("Mem-Info")[0], "the report has no zones"),
        (PLAIN.replace("lowmem_reserve[]: 0 0 0 0 0\n", ""), "a zone has no line 'lowmem_reserve"),
        (PLAIN.split("[  pid  ]")[0], "the report has no task table"),
        (PLAIN.replace("1*4kB", "1*64kB"), "OOM report:11: its pages are of 64 KiB; only 4 KiB"),
        (
            PLAIN.replace("CONSTRAINT_NONE", "CONSTRAINT_MEMCG"),
            "OOM report:22: a memory cgroup was out of memory; cgroups are not simulated",
        ),
        (PLAIN.replace(" 9000     ", " many     "), "OOM report:20: must have the columns pid uid"),
    ],
)
def test_what_cannot_be_rebuilt_is_refused(text, rule):
    """No report, half a report, other pages, and a limit of a cgroup: one line with the place."""
    with pytest.raises(RecordingError) as caught:
        parse_oom_report(text)
    assert rule in str(caught.value)


def test_what_a_report_does_not_say_is_told():
    """CPUs and addresses always; an order and a policy where there is one."""
    text = PLAIN.replace("order=0", "order=3").replace("_NONE", "_MEMORY_POLICY")
    told = machine_from_oom(parse_oom_report(text)).boot.assumed
    assert [line.split()[:4] for line in told] == [
        ["a", "report", "names", "CPUs"],
        ["it", "was", "out", "of"],
        ["only", "some", "nodes", "were"],
    ]
