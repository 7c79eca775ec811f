"""Tests of the report: what it says, that it is one file, and that a browser draws it."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kernelsim.cli.main import exit_status
from kernelsim.config.machine_file import machine_from_toml
from kernelsim.errors import ConfigError, SyscallError
from kernelsim.report.html.page import write_report
from kernelsim.report.html.record import read_record
from kernelsim.report.machine_run import run_machine
from kernelsim.report.run_options import RunOptions
from kernelsim.workload.api import Workload
from tests.browser import browser, open_page, severe
from tests.small_machine import small_machine

assert browser, "a fixture"
pytestmark = [pytest.mark.mission("B6")]

BLOCK = "/sys/devices/system/memory/memory32"
NASTY = ("<script>boom()", "</script><b>$$", "'\"&%s${x}")  # names of processes, 15 bytes at most
SIZE_MAX = 3 << 20
MEMORY = ("Free pages of node 0 DMA", "Free pages of node 1 DMA32", "LRU lists", "Swap traffic")
MAP = ("What lies where in node 0 DMA", "What lies where in node 1 DMA32", "What each process does")
KERNEL = ("Pages taken back", "Pressure (PSI)", "Latency of page faults", "Spinning for locks")
DRAWN = """
return Array.from(document.querySelectorAll(".panel"), (panel) => {
  const host = Array.from(panel.querySelectorAll("*")).find((each) => each.shadowRoot)
  const canvas = []
  const visit = (root) => root.querySelectorAll("*").forEach((each) => {
    if (each.tagName === "CANVAS") canvas.push(each)
    if (each.shadowRoot) visit(each.shadowRoot)
  })
  visit(host.shadowRoot)
  return canvas.some(({width, height, ...rest}, n) => {
    const it = canvas[n]
    const {data} = it.getContext("2d").getImageData(0, 0, it.width, it.height)
    return data.some((value) => value !== 0)
  })
})
"""
INK = """
return Array.from(Bokeh.documents[0]._all_models.values())
  .filter((each) => each.type === "Legend").map((each) => each.label_text_color)
"""
RANGES = """
return Array.from(Bokeh.documents[0]._all_models.values())
  .filter((each) => each.type === "Figure").map((each) => [each.x_range.start, each.x_range.end])
"""


async def main(machine):
    """Press two nodes: the first process swaps, another one of its kind is killed."""
    first, second, third = [await machine.spawn(name) for name in NASTY]
    await first.touch(await first.mmap("28M"), write=True)
    await second.touch(await second.mmap("16M"), write=True)
    await third.touch(await third.mmap("56M"), write=True)
    machine.note("a <b>bold</b> note")
    machine.expect(condition=False, text="<i>never</i>")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the report of a run on two nodes, under pressure, with names that are no HTML."""
    out = tmp_path_factory.mktemp("run")
    spec = small_machine(
        cpus=("0", "1"), memory="24M", swap="16M", disk={"read_latency": "1ms"},
        distances=((10, 20), (20, 10)),
    )  # fmt: skip
    run_machine(Workload(main, "machine", spec), RunOptions(out=out), name="<workload>.py")
    return write_report(out)


def test_the_same_run_has_the_same_report(report, tmp_path):
    """Byte for byte, whoever writes it, when, and whatever that process wrote before."""
    assert write_report(report.parent, to=tmp_path / "a.html").read_bytes() == report.read_bytes()
    again = tmp_path / "again.html"
    words = ["-m", "kernelsim", "report", str(report.parent), "--to", str(again)]
    subprocess.run([sys.executable, *words], check=True, capture_output=True)
    assert again.read_bytes() == report.read_bytes()


def test_a_damaged_log_is_one_line(report, tmp_path, capsys):
    """What is no JSON in the middle of the log is told, and nothing is written."""
    copied = shutil.copytree(report.parent, tmp_path / "copied")
    lines = (copied / "events.jsonl").read_bytes().splitlines(keepends=True)
    (copied / "events.jsonl").write_bytes(b"".join([*lines[:3], b"\xff\n", *lines[3:]]))
    assert exit_status(["report", str(copied), "--to", str(tmp_path / "x")]) == 2
    (told,) = capsys.readouterr().err.splitlines()
    assert "has a damaged log" in told
    assert "events.jsonl" in told
    assert not (tmp_path / "x").exists()


def test_story_comes_first_and_has_the_runs_figures(report):
    """Sentences tell faults, kswapd, stalls, swap, locks, kills; then come notes and pictures."""
    text = report.read_text()
    story = text[text.index('<ul id="story">') : text.index("Notes of the workload")]
    for told in (
        "&lt;workload&gt;.py ran for ",
        "(2 nodes, ",
        "1 of its 1 expectations failed: &lt;i&gt;never&lt;/i&gt;.",
        " page faults; ",
        "fell below the min watermark",
        "The kswapds balanced ",
        "Tasks reclaimed pages themselves ",
        " went to swap and ",
        "The OOM killer chose ",
    ):
        assert told in story
    assert text.index("Notes of the workload") < text.index("<section")
    assert "a &lt;b&gt;bold&lt;/b&gt; note" in text


def test_report_is_one_file_that_needs_no_other(report):
    """It stays below 3 MB, and loads nothing: no source, no style, no import from elsewhere."""
    text = report.read_text()
    assert report.stat().st_size < SIZE_MAX
    tags = re.findall(r"<(?:script|link|img|iframe)\b[^>]*>", text)
    assert [tag for tag in tags if "src=" in tag or "http" in tag] == []
    assert [tag for tag in tags if tag.startswith("<link")] == ['<link rel="icon" href="data:,">']
    assert "@import" not in text


def test_names_stay_names(report):
    """What a process is called never becomes HTML."""
    text = report.read_text()
    for name in NASTY[:2]:
        assert name not in text
    assert "&lt;script&gt;boom() (100)" in text
    assert "<workload>" not in text


def test_browser_draws_every_panel_without_an_error(report, browser):
    """In light and dark each picture has something on it; the console is silent."""
    for dark in (False, True):
        open_page(browser, report, dark=dark)
        titles = browser.execute_script(
            "return Array.from(document.querySelectorAll('h3'), (each) => each.textContent)"
        )
        for title in (*MEMORY, *MAP, *KERNEL, "Placement on nodes", "Load of the links"):
            assert any(each.startswith(title) for each in titles), title
        assert any(each.startswith(f"{NASTY[1]} (101): where") for each in titles)
        assert browser.execute_script(DRAWN) == [True] * len(titles)
        colours = set(browser.execute_script(INK))
        assert colours == {"#ececf0" if dark else "#1c1c1e"}
        assert severe(browser) == []


def test_zoom_of_one_picture_is_the_zoom_of_all(report, browser):
    """A key changes the time shown; every picture has it, and 0 shows the whole run again."""
    open_page(browser, report)
    whole = browser.execute_script(RANGES)
    end = whole[0][1]
    assert whole == [[0, end]] * len(whole)
    body = browser.find_element("tag name", "body")
    body.send_keys("+")
    assert browser.execute_script(RANGES) == [[end / 4, end * 3 / 4]] * len(whole)
    body.send_keys("0")
    assert browser.execute_script(RANGES) == whole
    drag_across_first_picture(browser)
    ranges = browser.execute_script(RANGES)
    assert ranges == [ranges[0]] * len(whole)
    assert 0 < ranges[0][0] < ranges[0][1] < end
    assert severe(browser) == []


def drag_across_first_picture(browser):
    """Drag the pointer from left to right over the middle of the first picture."""
    panel = browser.find_element("css selector", ".panel")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", panel)
    box = panel.rect
    top = browser.execute_script("return arguments[0].getBoundingClientRect().top", panel)
    y, left = top + box["height"] * 0.6, box["x"]
    for kind, share in (
        ("mouseMoved", 0.4), ("mousePressed", 0.4), ("mouseMoved", 0.5),
        ("mouseMoved", 0.6), ("mouseReleased", 0.6),
    ):  # fmt: skip
        browser.execute_cdp_cmd(
            "Input.dispatchMouseEvent",
            {
                "type": kind, "x": left + box["width"] * share, "y": y, "button": "left",
                "buttons": 1, "clickCount": 1,
            },
        )  # fmt: skip


@pytest.mark.parametrize(
    ("arch", "until", "told"),
    [("i386", None, "Free pages of node 0 HighMem"), ("x86_64", "1us", "What memory is used for")],
)
def test_other_machines_and_short_runs_have_one_too(tmp_path, arch, until, told):
    """Zones of a 32-bit kernel are told apart; a run that ends at once has a report."""

    async def one(machine):
        process = await machine.spawn("one")
        await process.touch(await process.mmap("1M"), write=True)

    workload = Workload(one, "machine", small_machine(memory="1G", arch=arch))
    run_machine(workload, RunOptions(out=tmp_path, until=until), name="one.py")
    assert told in write_report(tmp_path).read_text()


def test_memory_that_comes_and_stays_is_told_and_marked(tmp_path):
    """Where a DIMM came has a map; marks say what happened, a sentence why it could not leave."""

    async def plug(machine):
        await machine.dimms.add("dimm0", "128M")
        await machine.write_sysfs(f"{BLOCK}/state", "online_kernel")
        process = await machine.spawn("tables")
        await process.touch(await process.mmap("150M"), stride=2 << 20)
        await machine.sleep("2ms")
        with pytest.raises(SyscallError, match="EBUSY"):
            await machine.dimms.remove("dimm0")

    node = {"cpus": "0", "memory": "64M"}
    spec = machine_from_toml({"name": "slots", "maxmem": "192M", "node": [node]})
    run_machine(Workload(plug, "machine", spec), RunOptions(out=tmp_path), name="plug.py")
    text = write_report(tmp_path).read_text()
    for told in (
        "Of memory, 1 block came online.",
        "Memory could not go offline twice, first block 32 at ",
        "Free pages of node 0 Normal",
        "What lies where in memory that was added",
        '"memory32 online"',
        '"memory32 stays: EBUSY"',
    ):
        assert told in text
    assert "Free pages of node 0 Movable" not in text, "it never had any"
    (tmp_path / "memory_map.parquet").unlink()
    assert read_record(tmp_path).memory_map is None, "runs of earlier versions have a report too"


def test_a_damaged_log_is_told(report, tmp_path):
    """That a line of it is none is one error, and no report is written."""
    for name in ("metrics.parquet", "processes.parquet", "run.json"):
        shutil.copy(report.parent / name, tmp_path)
    (tmp_path / "events.jsonl").write_text('{"t_ns":0}\n{"t_ns":\n{"t_ns":1}\n')
    with pytest.raises(ConfigError, match="damaged log"):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_command_writes_it_or_says_why_not(report, tmp_path, capsys):
    """`kernelsim report DIR` prints the file; a directory without a run is refused in one line."""
    target = tmp_path / "mine.html"
    assert exit_status(["report", str(report.parent), "--to", str(target)]) == 0
    assert capsys.readouterr().out == f"{target}\n"
    mine, theirs = (path.read_text().partition("<section")[0] for path in (target, report))
    assert mine == theirs
    assert exit_status(["report", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert "must hold the run of a machine that has ended; there is no events.jsonl" in told


def test_a_run_writes_it_on_demand(tmp_path, capsys, monkeypatch):
    """`run --report` writes it, and says where; it needs a directory."""
    monkeypatch.chdir(tmp_path)
    Path("script.txt").write_text("memhog mmap:a:1M touchw:a\n")
    assert exit_status(["run", "script.txt", "--out", "out", "--report"]) == 0
    assert "report  out/report.html" in capsys.readouterr().out
    assert "ran for" in Path("out/report.html").read_text()
    assert exit_status(["run", "script.txt", "--report"]) == 2
    assert "--report = True: needs a directory to be in: --out DIR" in capsys.readouterr().err
