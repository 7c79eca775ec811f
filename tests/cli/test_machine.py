"""`kernelsim machine`: lists, shows, and checks our figures against a recorded kernel."""

import io
from pathlib import Path

import pytest

from kernelsim.cli.machine_check import check_machine
from kernelsim.cli.main import exit_status
from kernelsim.config.from_proc import machine_from_proc
from kernelsim.config.machine_file import load_machine, preset_names
from tests import oom_text
from tests.zoneinfo_text import ARM, BEFORE_4_8, OLD, PPC, THP, zoneinfo

WORKLOAD = """
from kernelsim.workload import workload

@workload
async def main(machine):
    hog = await machine.spawn("hog")
    await hog.touch(await hog.mmap("1M"), write=True)
    machine.note(f"{machine.spec.nr_cpus} CPUs")
"""
CASES = Path(__file__).parent.parent / "oracle" / "cases"
SNAPSHOTS = sorted(path.parent for path in CASES.glob("*/*/sysctl_vm.txt"))


def test_list_names_every_preset(capsys: pytest.CaptureFixture[str]) -> None:
    """One line a machine, with CPUs, nodes, memory and swap."""
    assert 0 == exit_status(["machine", "list"])
    lines = capsys.readouterr().out.splitlines()

    assert ["name", *preset_names()] == [line.split()[0] for line in lines]
    assert "1023.9 GiB" in lines[1]


def test_show_says_which_tunables_change_nothing(tmp_path, capsys):
    """Where a machine file sets one that is idle, its line says why; the others have no remark."""
    path = tmp_path / "m.toml"
    path.write_text(
        'name = "m"\n[[node]]\ncpus = "0"\nmemory = "64M"\n'
        '[sysctl]\n"vm.laptop_mode" = 30\n"vm.swappiness" = 3\n'
    )
    assert exit_status(["machine", "show", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    told = [line for line in lines if line.startswith("sysctl ")]
    assert "sysctl vm.swappiness = 3" in told
    (idle,) = (line for line in told if "laptop_mode" in line)
    assert idle.startswith("sysctl vm.laptop_mode = 30 (changes nothing yet: ")


def test_show_prints_nodes_zones_and_distances(capsys: pytest.CaptureFixture[str]) -> None:
    """What is printed are the zones of the machine."""
    assert 0 == exit_status(["machine", "show", "numa-2x4g"])
    out = capsys.readouterr().out

    assert "numa-2x4g: x86_64, rules of 6.1, 8 CPUs, 7.7 GiB for use" in out
    assert ["0", "0-3", "DMA32", "4096", "1044480", "782336"] in [
        line.split()[:6] for line in out.splitlines()
    ]
    assert "   21  10" in out


@pytest.mark.mission("P16")
@pytest.mark.parametrize("folder", SNAPSHOTS, ids=lambda f: f"{f.parent.name}/{f.name}")
def test_every_figure_of_every_recording_is_explained(folder: Path) -> None:
    """min, low, high and protection equal the formulas or the boot computation, to the page."""
    rows = check_machine(machine_from_proc(folder)).rows

    assert rows
    assert [] == [row for row in rows if row.verdict == "differs"]


def test_from_proc_writes_a_machine_that_loads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """--out gives a file `show` and `run` read back as the same machine."""
    out = tmp_path / "s04.toml"

    assert 0 == exit_status(["machine", "from-proc", str(CASES / "s04/before"), "--out", str(out)])
    assert "20 of 20 figures equal the kernel's to the page" in capsys.readouterr().out
    assert machine_from_proc(CASES / "s04" / "before") == load_machine(out)
    assert [out] == list(tmp_path.iterdir())


def test_from_proc_fails_when_the_kernel_says_otherwise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One page more in one watermark is noticed: exit status 1."""
    before = CASES / "s09" / "minfree_4096"
    for file in before.iterdir():
        text = file.read_text()
        (tmp_path / file.name).write_text(
            text.replace("        min      1016", "        min  1017")
        )

    assert 1 == exit_status(["machine", "from-proc", str(tmp_path)])
    assert "7 of 8 figures equal the kernel's to the page" in capsys.readouterr().out


@pytest.mark.mission("B5")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "laptop"], ("machine = 'laptop': no such preset; did you mean laptop-4g? (a file"
         " ends in .toml)")),
        (["show", "/x.toml"], "/x.toml: file = 'x.toml': No such file or directory"),
        (["show"], "machine show needs a name or a directory (see --help)"),
        (["list", "x"], "machine list takes no name (see --help)"),
        (["show", "uma-2g", "--out", "x"], "machine show takes no --out (see --help)"),
        (["from-proc", "/nowhere"], ("/nowhere: must be a directory with the file zoneinfo, or such"
         " a file")),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 2 and one line on stderr."""
    assert 2 == exit_status(["machine", *arguments])
    assert f"kernelsim: {message}\n" == capsys.readouterr().err


def test_new_prints_a_machine_that_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What `machine new` prints is taken by `run --machine` as it is."""
    assert 0 == exit_status(["machine", "new"])
    (tmp_path / "m.toml").write_text(capsys.readouterr().out, encoding="utf-8")
    (tmp_path / "w.py").write_text(WORKLOAD)

    words = ["run", str(tmp_path / "w.py"), "--machine", str(tmp_path / "m.toml")]
    assert 0 == exit_status(words)
    assert "2 CPUs" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["tiny-64m", "numa-2x4g"])
def test_show_toml_prints_the_whole_machine(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It reads back as the same machine, every default written out."""
    assert 0 == exit_status(["machine", "show", name, "--toml"])
    (tmp_path / "m.toml").write_text(capsys.readouterr().out, encoding="utf-8")

    assert load_machine(name) == load_machine(tmp_path / "m.toml")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["list", "--toml"], "machine list takes no --toml"),
        (["new", "--toml"], "machine new takes no --toml"),
        (["new", "--out", "m.toml"], "machine new takes no --out"),
        (["new", "name"], "machine new takes no name"),
    ],
)
def test_options_that_mean_nothing_are_refused(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line says which."""
    assert 2 == exit_status(["machine", *words])
    assert told in capsys.readouterr().err


@pytest.mark.mission("B5")
@pytest.mark.mission("P16")
@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            zoneinfo(THP) + "vm.min_free_kbytes = 67584\n",
            (
                "vm.min_free_kbytes is 67584, as khugepaged sets it: huge pages are on",
                "min, low and high were computed while 13712 to 13904 pages of node 0 DMA32 were",
                "least 14904 of node 0 DMA32, 1138 of node 0 Normal",
                "12 of 12 figures equal the kernel's to the page",
            ),
        ),
        (
            zoneinfo(OLD, BEFORE_4_8),
            (
                "assumed: the kernel is older than 4.8: the rules of 2.6.32 (classic) are taken",
                "is not recorded: 67584 gives the minima of the zones, as khugepaged sets it",
                "12 of 12 figures equal the kernel's to the page",
            ),
        ),
        (
            zoneinfo(PPC),
            (
                "assumed: no PC (arm64, ppc64 or the like)",
                "is not recorded: 5800 gives the minima of the zones\n",
                "4 of 4 figures equal the kernel's to the page",
            ),
        ),
        (
            zoneinfo(ARM),
            (
                "is not recorded: 2784 gives the minima of the zones\n",
                "8 of 8 figures equal the kernel's to the page",
            ),
        ),
    ],
)
def test_from_proc_explains_what_is_pasted(text, told, monkeypatch, capsys):
    """Huge pages, pages held at boot and other kernels' rules explain all figures: status 0."""
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    assert exit_status(["machine", "from-proc", "-"]) == 0
    printed = capsys.readouterr().out
    assert [part for part in told if part not in printed] == []


@pytest.mark.parametrize("zones", [ARM, PPC, OLD])
def test_machines_that_are_no_pc_run(zones, tmp_path):
    """Zones that no PC has, frame 0 among them, and invariants hold."""
    (tmp_path / "zoneinfo").write_text(zoneinfo(zones))
    machine = str(tmp_path / "m.toml")
    exit_status(["machine", "from-proc", str(tmp_path), "--out", machine])
    (tmp_path / "w.py").write_text(WORKLOAD)
    assert exit_status(["run", str(tmp_path / "w.py"), "--machine", machine, "--check"]) == 0


def test_a_recorded_machine_runs_with_the_reserve_its_figures_come_from(tmp_path, capsys):
    """vm.min_free_kbytes is inferred; writing a sysctl the value it has leaves all as it was."""
    (tmp_path / "zoneinfo").write_text(zoneinfo(THP))
    machine = str(tmp_path / "m.toml")
    assert exit_status(["machine", "from-proc", str(tmp_path / "zoneinfo"), "--out", machine]) == 0
    (tmp_path / "w.py").write_text(
        WORKLOAD.replace("machine.spec.nr_cpus", "machine.sysctl('vm.min_free_kbytes')")
    )
    words = ["run", str(tmp_path / "w.py"), "--machine", machine, "--check"]
    for more in ([], ["--set", "vm.watermark_scale_factor=10"]):
        capsys.readouterr()
        assert exit_status([*words, *more]) == 0
        printed = capsys.readouterr().out
        assert "67584 CPUs" in printed
        assert "node 0 DMA32   8178  10222  12266" in " ".join(printed.split(" "))


@pytest.mark.mission("B5")
def test_from_oom_prints_tasks_and_writes_the_machine(tmp_path, capsys):
    """The largest tasks, who was killed, what is assumed; --out gives a file that loads."""
    log, out = tmp_path / "dmesg.txt", tmp_path / "m.toml"
    log.write_text(oom_text.report())
    assert exit_status(["machine", "from-oom", str(log), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    lines = [line.split() for line in printed.splitlines()]
    assert ["901", "worker", "15.6", "MiB", "35.1", "MiB", "0", "killed"] in lines
    assert "java asked for a block of order 0; free swap 0 B" in printed
    assert load_machine(out).swaps[0].size_bytes == (60 << 20) + 4096


def test_from_oom_refuses_what_is_no_report(tmp_path, capsys):
    """One line, exit status 2."""
    (tmp_path / "x").write_text("all is well\n")
    assert exit_status(["machine", "from-oom", str(tmp_path / "x")]) == 2
    assert "has no OOM report" in capsys.readouterr().err
