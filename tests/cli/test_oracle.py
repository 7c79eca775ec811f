"""The command `kernelsim oracle`: tables, JSON, exit status."""

import json
import shutil
from pathlib import Path

import pytest

from kernelsim.cli.main import exit_status

CASES = Path(__file__).parents[1] / "oracle" / "cases"


def test_a_case_inside_its_classes_exits_0(capsys):
    """The table lists nothing but totals; the last line counts all rows."""
    assert 0 == exit_status(["oracle", str(CASES / "s01")])

    last = capsys.readouterr().out.splitlines()[-1]
    label, inside, _, total = last.split()
    assert ("total", total) == (label, inside)


def test_several_cases_have_a_table_each_and_a_total(capsys, tmp_path):
    """Each below its name, and kept in a directory of its name."""
    arguments = ["oracle", str(CASES / "s01"), str(CASES / "s03"), "--out", str(tmp_path)]
    assert 0 == exit_status(arguments)

    out = capsys.readouterr().out
    assert ["== s01", "== s03"] == [line for line in out.splitlines() if len(line) == 6]
    assert out.splitlines()[-1].startswith("== 2 cases: ")
    assert (tmp_path / "s03" / "before" / "zoneinfo").is_file()


def test_a_row_outside_exits_1(capsys, tmp_path):
    """A recording that has a zone of another size is not reproduced."""
    case = tmp_path / "wrong"
    shutil.copytree(CASES / "s09", case)
    path = case / "minfree_1024" / "zoneinfo"
    path.write_text(path.read_text().replace("present  3998", "present  3997"))
    assert 1 == exit_status(["oracle", str(case)])

    assert "OUT  exact zoneinfo minfree_1024 node0/DMA.present" in capsys.readouterr().out


def test_json_is_one_object_a_case(capsys):
    """With the name of the case, all rows and the topics."""
    assert 0 == exit_status(["oracle", str(CASES / "s01"), "--json"])

    table = json.loads(capsys.readouterr().out)
    assert ["case", "rows", "topics"] == list(table)
    assert "s01" == table["case"]
    assert all(row["ok"] for row in table["rows"])


def test_all_lists_rows_inside_too(capsys):
    """A line for each row."""
    exit_status(["oracle", str(CASES / "s01"), "--all"])

    assert "ok   exact zoneinfo before node0/DMA.spanned" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "at least one case directory"),
        (["nowhere"], "a case is a directory with a snapshot `before`"),
        ([str(CASES / "d02")], "script.txt:3: step 'mmapshared:a:64M' needs 'mmapshared'"),
        ([str(CASES / "s01"), "--burst-pages", "0"], "burst_pages = 0"),
    ],
)
def test_wrong_use_exits_2_with_one_line(capsys, arguments, told):
    """And nothing has run."""
    assert 2 == exit_status(["oracle", *arguments])

    captured = capsys.readouterr()
    assert "" == captured.out
    assert told in captured.err
    assert 1 == len(captured.err.splitlines())
