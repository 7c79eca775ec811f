"""`kernelsim tour`: the table of rows, what is run for one, and what is told when it fails."""

import re
import shlex
import tomllib
from typing import Final

import pytest

from kernelsim.cli.main import exit_status
from kernelsim.report.tour_table import read_rows
from tests.house_rules import TOP

WORKLOADS = TOP / "workloads"
TABLE = tomllib.loads((WORKLOADS / "tour.toml").read_text(encoding="utf-8"))
RAN = """[Z1]
what = "a row"
what_zh = "一行"
state = "works"
note = "41"
note_zh = "四十一"
run = "run workloads/one.py"
ours = '^the figure.*'
look = "Look."
look_zh = "看。"
"""
WORDS = r"""
Z1 = [['the figure', '数'], ['数 is (\d+)', '其数为 \1']]
"""
ENGLISH: Final = re.compile(r"[A-Za-z]{3,} [a-z]{2,} |\b(the|of|and|with|is|in|page|pages)\b")
KERNELS: Final = re.compile(  # lines and words of the kernel's own
    r"\S+\[\d+\]:? (segfault|general protection fault).*|remove_memory: .*|Cannot allocate memory|"
    r"OOM killer|依次被杀：.*"
)
ONE = """from kernelsim.workload import workload


@workload(machine="tiny-64m")
async def main(machine):
    machine.note("the figure is 42")
    machine.expect({holds}, "it holds")
"""


@pytest.fixture
def folder(tmp_path):
    """Return a function that makes a folder of workloads with a tour of one row."""

    def make(text=RAN, *, holds=True):
        workloads = tmp_path / "workloads"
        workloads.mkdir()
        (workloads / "tour.toml").write_text(text, encoding="utf-8")
        (workloads / "one.py").write_text(ONE.format(holds=holds))
        return str(workloads)

    return make


@pytest.mark.mission("B7", "partly")
def test_the_row_of_reserves_prints_the_notes_figure_and_ours(capsys):
    """In the words of both languages."""
    assert 0 == exit_status(["tour", "P15", "--workloads", str(WORKLOADS)])
    text = capsys.readouterr().out
    assert "the note   8, 64 and 256 MB with ratios 256/32/0: reserves of 64, 320 and 2048" in text
    assert "here       8, 64 and 256 MB: DMA keeps 64 pages from Normal and 320 from High" in text
    assert text.endswith("  holds\n\n")


def test_a_row_is_shown_whole(capsys, folder):
    """What it is, the note's figure, ours, what to look at, the command, and whether it holds."""
    place = folder()
    assert 0 == exit_status(["tour", "z1", "--workloads", place, "--jobs", "1"])
    assert capsys.readouterr().out == (
        "Z1  a row\n"
        "  the note   41\n"
        "  here       the figure is 42\n"
        "  look at    Look.\n"
        "  run        kernelsim run workloads/one.py\n"
        "  holds\n"
        "\n"
    )


def test_columns_are_even_in_chinese(capsys, folder):
    """A Chinese character takes two of them."""
    assert 0 == exit_status(["tour", "--lang", "zh", "--workloads", folder()])
    assert capsys.readouterr().out == (
        "Z1  一行\n"
        "  笔记       四十一\n"
        "  此处       the figure is 42\n"
        "  看点       看。\n"
        "  运行       kernelsim run workloads/one.py\n"
        "  成立\n"
        "\n"
    )


def test_figures_have_chinese_words(capsys, folder, tmp_path):
    """What is printed is taken over, in turn, by what stands beside the tour."""
    place = folder()
    (tmp_path / "workloads/tour_zh.toml").write_text(WORDS, encoding="utf-8")
    assert 0 == exit_status(["tour", "--lang", "zh", "--workloads", place])
    assert "  此处       其数为 42\n" in capsys.readouterr().out
    assert 0 == exit_status(["tour", "--workloads", place])
    assert "  here       the figure is 42\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("Z1 =", "Z2 =", "Z2 = None: is no row of tour.toml"),
        ("[['the figure'", "['x'] #", "Z1 = 'x': must be a list of pairs"),
        ("['数", "['', '', '数", "must be a list of pairs"),
        ("is (", "is ((", "is no expression"),
        ("\\1", "\\2", "names a group that"),
    ],
)
def test_a_mistake_in_the_words_is_one_line(capsys, folder, tmp_path, old, new, told):
    """It names the file and the row."""
    place = folder()
    assert old in WORDS
    (tmp_path / "workloads/tour_zh.toml").write_text(WORDS.replace(old, new), encoding="utf-8")
    assert 2 == exit_status(["tour", "--lang", "zh", "--workloads", place])
    line = capsys.readouterr().err
    assert (told in line, "tour_zh.toml" in line, line.count("\n")) == (True, True, 1)


def figure_of(row):
    """Return the lines of a row's figure in what is kept beside the workloads, if it is."""
    commands = [command.split() for command in row.run.split(" && ")]
    if not row.run or any(words[0] != "run" or "--out" in words for words in commands):
        return []
    texts = [(TOP / words[1]).with_suffix(".out").read_text(encoding="utf-8") for words in commands]
    return [match[0] for match in re.finditer(row.ours, "".join(texts), re.MULTILINE)]


def test_no_english_is_left_in_chinese_figures():
    """Of what is kept beside the workloads: numbers, and the kernel's own names and lines."""
    left = {
        f"{row.name} {row.line(line, 'zh')}"
        for row in read_rows(WORKLOADS)
        for line in figure_of(row)
        if ENGLISH.search(KERNELS.sub("", row.line(line, "zh")))
    }
    assert left == set()


def test_a_row_that_does_not_hold_ends_with_exit_status_1(capsys, folder):
    """An expectation failed: the row says which."""
    assert 1 == exit_status(["tour", "--workloads", folder(holds=False)])
    told = capsys.readouterr()
    assert (
        "  DOES NOT HOLD: exit status 1: kernelsim: FAILED workloads/one.py:7: it holds" in told.out
    )
    assert told.err == "kernelsim: rows that do not hold: Z1\n"


def test_what_does_not_hold_is_told_in_chinese(capsys, folder):
    """The verdict, its reason and the last line; what the command said is not translated."""
    words = ["tour", "--lang", "zh", "--workloads", folder(RAN.replace("^the fig", "^no fig"))]
    assert 1 == exit_status(words)
    told = capsys.readouterr()
    assert "  不成立: 输出中没有一行像 ^no figure.*\n" in told.out
    assert told.err == "kernelsim: 不成立的条目: Z1\n"


def test_the_table_of_the_readme_has_chinese_words(capsys):
    """All of it but the commands; in English it is that of the README."""
    assert 0 == exit_status(["tour", "--markdown", "--lang", "zh", "--workloads", str(WORKLOADS)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| 条目 | 内容 | 状态 | 演示 |"
    assert all(re.search("[一-鿿]", line.rpartition(" | ")[0]) for line in lines[2:])
    partly = [row["missing_zh"] for row in TABLE.values() if row["state"] == "partly"]
    assert partly
    assert partly == [line.split("部分：")[1].split(" | ")[0] for line in lines if "部分：" in line]


def test_a_figure_that_is_not_printed_does_not_hold(capsys, folder):
    """The run went well, and still the row is not shown."""
    assert 1 == exit_status(["tour", "--workloads", folder(RAN.replace("^the fig", "^no fig"))])
    assert "DOES NOT HOLD: nothing it printed is like ^no figure.*" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('state = "works"', 'state = "good"', "Z1.state = 'good': must be one of"),
        ('what_zh = "一行"\n', "", "Z1.what_zh = None: must be there, too"),
        ("ours =", "our =", "Z1.our = '^the figure.*': is no key of a row"),
        ("'^the", "'(^the", "Z1.ours = '(^the figure.*': is no expression"),
        ('run = "run workloads/one.py"\n', "", "Z1.look = 'Look.': has no place in this row"),
        ("[Z1]", "[Z1", "cannot be read"),
    ],
)
def test_a_mistake_in_the_table_is_one_line(capsys, folder, old, new, told):
    """It names the file and the key."""
    assert 2 == exit_status(["tour", "--workloads", folder(RAN.replace(old, new))])
    line = capsys.readouterr().err
    assert (told in line, "tour.toml" in line, line.count("\n")) == (True, True, 1)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["Z9"], "tour has no row Z9 (kernelsim tour --list names them)"),
        (["--lang", "de"], "--lang = 'de': must be one of en, zh"),
        (["--jobs", "0"], "--jobs = 0: must be at least 1"),
    ],
)
def test_wrong_use_is_one_line(capsys, folder, words, told):
    """Nothing runs."""
    assert 2 == exit_status(["tour", *words, "--workloads", folder()])
    assert capsys.readouterr() == ("", f"kernelsim: {told}\n")


def test_without_workloads_the_user_is_told_what_to_do(capsys, tmp_path):
    """A folder that has no tour is refused."""
    assert 2 == exit_status(["tour", "--workloads", str(tmp_path)])
    assert "name the folder of workloads by --workloads DIR" in capsys.readouterr().err


def test_the_list_has_a_line_for_each_row(capsys):
    """In the order of the mission: its state, what it is, what shows it."""
    assert 0 == exit_status(["tour", "--list", "--workloads", str(WORKLOADS)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["row", "state", "what", "shown", "by"]
    assert [line.split()[0] for line in lines[1:]] == list(TABLE)


def test_an_area_stands_for_its_rows(capsys):
    """R lists R1 to R13."""
    assert 0 == exit_status(["tour", "R", "--list", "--workloads", str(WORKLOADS)])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == [f"R{n}" for n in range(1, 14)]


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, row in TABLE.items()
        if all(command[:4] == "run " for command in row.get("run", "").split(" && "))
    ],
)
def test_what_a_row_runs_prints_its_figure(name):
    """Workloads print what is kept beside them: the figure is among it."""
    row = TABLE[name]
    paths = [TOP / command.split()[1] for command in row["run"].split(" && ")]
    text = "".join(path.with_suffix(".out").read_text(encoding="utf-8") for path in paths)
    assert re.search(row["ours"], text, re.MULTILINE)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "fewer"), [("B4", ("--seeds 1-2", "--seeds 1 --jobs 1")), ("B6", ("", ""))]
)
def test_what_a_row_of_several_steps_or_runs_prints_its_figure(
    name, fewer, tmp_path, monkeypatch, capsys
):
    """No output is kept beside these: they run, a sweep with one seed."""
    row = TABLE[name]
    (tmp_path / "workloads").symlink_to(WORKLOADS)
    monkeypatch.chdir(tmp_path)
    for command in row["run"].split(" && "):
        assert exit_status(shlex.split(command.replace(*fewer))) == 0
    found = re.findall(row["ours"], capsys.readouterr().out, re.MULTILINE)
    assert len(found) >= 3
