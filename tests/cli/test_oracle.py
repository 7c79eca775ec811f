"""The command `kernelsim oracle`: tables, JSON, exit status."""

import json
import shutil
from pathlib import Path

import pytest

from kernelsim.cli.main import exit_status
from kernelsim.oracle.case_output import recover
from kernelsim.report import whole

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


@pytest.mark.parametrize(
    ("place", "option", "what"),
    [
        ("syscalls", "--json", "programs of system calls"),
        ("syscalls", "--all", "programs of system calls"),
        ("syscalls", "--trace=trim", "programs of system calls"),
        ("malloc", "--check", "traces of allocations"),
        ("malloc", "--family=mapmix", "traces of allocations"),
        ("cases/s01", "--family=mapcount", "recorded cases"),
        ("cases/s01", "--allocator=glibc", "recorded cases"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(capsys, place, option, what):
    """One line names it, and nothing runs."""
    assert 2 == exit_status(["oracle", str(CASES.parent / place), option])

    told, name = capsys.readouterr(), option.partition("=")[0]
    assert ("", f"kernelsim: {name} says nothing about {what}\n") == (told.out, told.err)


def test_programs_answer_the_same_when_checked_and_by_messages(capsys):
    """With a burst of one page, and all invariants checked meanwhile, as by default."""

    def told(*options):
        words = ["oracle", str(CASES.parent / "syscalls"), "--family", "hand", *options]
        return exit_status(words), *capsys.readouterr()

    assert told("--check", "--burst-pages", "1") == told()


def test_traces_of_allocations(capsys, tmp_path):
    """A table by allocator; what it did is written as recordings are. A difference exits 1."""
    words = ["oracle", str(CASES.parent / "malloc"), "--trace", "first_byte", "--allocator"]
    assert 0 == exit_status([*words, "glibc", "--allocator", "dlmalloc", "--out", str(tmp_path)])

    lines = capsys.readouterr().out.splitlines()
    assert ["allocator", "glibc", "dlmalloc"] == [line.split()[0] for line in lines]
    assert "@" in (tmp_path / "recordings/dlmalloc/first_byte.syscalls").read_text()

    shutil.copytree(CASES.parent / "malloc/traces", tmp_path / "traces")
    assert 0 == exit_status(["oracle", str(tmp_path), *words[2:], "glibc"])
    path = tmp_path / "recordings/glibc/first_byte.checkpoints"
    path.write_text(path.read_text().replace("heap=335872", "heap=331776"))
    assert 1 == exit_status(["oracle", str(tmp_path), *words[2:], "glibc"])
    assert "outside: glibc first_byte: heap and mapped bytes: " in capsys.readouterr().out


def test_all_lists_rows_inside_too(capsys):
    """A line for each row."""
    exit_status(["oracle", str(CASES / "s01"), "--all"])

    assert "ok   exact zoneinfo before node0/DMA.spanned" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "at least one case directory"),
        ([str(CASES / "s01"), "--seed", "1.0"], "--seed = '1.0': must be a whole number"),
        (["nowhere"], "a case is a directory with a snapshot `before`"),
        ([str(CASES / "s01"), "--burst-pages", "0"], "burst_pages = 0"),
    ],
)
def test_wrong_use_exits_2_with_one_line(capsys, arguments, told, tmp_path):
    """And nothing has run, the only case either; no empty directory is left."""
    assert 2 == exit_status(["oracle", *arguments, "--out", str(tmp_path / "out")])

    assert not (tmp_path / "out").exists()
    captured = capsys.readouterr()
    assert "" == captured.out
    assert told in captured.err
    assert 1 == len(captured.err.splitlines())


def test_of_several_cases_those_that_can_be_run_are(capsys, tmp_path):
    """The others are listed with the reason, before or after they began; status 1."""
    endless = case_of(tmp_path / "endless", "memhog hold\n")
    other = case_of(tmp_path / "other", "memhog dents:3\n")
    good = case_of(tmp_path / "good", "")
    arguments = ["oracle", "nowhere", other, endless, good]
    assert 1 == exit_status([*arguments, "--out", str(tmp_path / "out")])
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert "" == captured.err
    assert ["== good"] == [line for line in lines if line.startswith("==")][:-1]
    assert ["nowhere", "other", "endless"] == [
        line.split(": ")[1] for line in lines if line.startswith("not run: ")
    ]
    assert "not run: nowhere: nowhere: a case is a directory with a snapshot `before`" in lines
    assert any("script.txt:1: step 'dents:3' needs" in line for line in lines)
    assert lines[-1].startswith("== 4 cases: ")
    assert lines[-1].endswith(" rows inside, 0 cases with rows outside, 3 not run")
    assert ["good"] == sorted(path.parent.name for path in tmp_path.glob("out/*/workload.out"))


def test_json_of_several_cases_says_what_was_not_run(capsys):
    """An object for each case, with the reason instead of rows."""
    assert 1 == exit_status(["oracle", "nowhere", str(CASES / "s01"), "--json"])
    objects = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert ["s01", "nowhere"] == [each["case"] for each in objects]
    assert "a case is a directory" in objects[1]["not_run"]


def files_of(folder):
    """Return path and content of every file."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def case_of(folder, script):
    """Make a case of a recorded machine and a script of our own."""
    shutil.copytree(CASES / "s01", folder)
    (folder / "script.txt").write_text(script)
    return str(folder)


def test_a_later_run_takes_the_place_of_an_earlier(capsys, tmp_path):
    """Snapshots of the earlier script are gone, what others put there stays, no temporary is left.

    A run that fails changes nothing.
    """
    out = tmp_path / "out"
    first = case_of(tmp_path / "first", "snap early\nsnap early\n")
    assert 0 == exit_status(["oracle", first, "--out", str(out)])
    (out / "notes.txt").write_text("mine")
    before = files_of(out)
    assert "early/zoneinfo" in before

    second = case_of(tmp_path / "second", "snap late\n")
    (tmp_path / "second/before/zoneinfo").write_text("broken\n")
    assert 2 == exit_status(["oracle", second, "--out", str(out)])
    assert before == files_of(out)

    shutil.copy(CASES / "s01/before/zoneinfo", tmp_path / "second/before/zoneinfo")
    assert 0 == exit_status(["oracle", second, "--out", str(out)])
    tops = {name.partition("/")[0] for name in files_of(out)}
    assert {"before", "dmesg.txt", "late", "notes.txt", "workload.out"} == tops
    assert {*tops} == {path.name for path in out.iterdir()}


def test_what_a_killed_run_left_is_put_right(tmp_path):
    """Half of a move is undone before the next run begins."""
    out = tmp_path / "out"
    arguments = ["oracle", str(CASES / "s01"), "--out", str(out)]
    assert 0 == exit_status(arguments)
    before = files_of(out)
    (out / "earlier.partial").mkdir()
    (out / "workload.out").rename(out / "earlier.partial/workload.out")
    (out / "tree.partial/before").mkdir(parents=True)
    recover(out)
    assert before == files_of(out)
    assert 0 == exit_status(arguments)
    assert before == files_of(out)


def test_a_full_disk_keeps_the_earlier_run(capsys, tmp_path, monkeypatch):
    """One line says why, also where a step of a process writes the snapshot; nothing is left."""
    out = tmp_path / "out"
    case = case_of(tmp_path / "case", "memhog snap:inside\n")
    assert 0 == exit_status(["oracle", case, "--out", str(out)])
    before, write = files_of(out), whole._write_below

    def fill_up(path, text):
        if "inside" in str(path) or path.name == "vmstat":
            raise OSError(28, "No space left on device")
        write(path, text)

    monkeypatch.setattr(whole, "_write_below", fill_up)
    capsys.readouterr()
    assert 2 == exit_status(["oracle", case, "--out", str(out)])
    captured = capsys.readouterr()
    assert captured.err.endswith("vmstat: cannot write: No space left on device\n")
    assert 1 == captured.err.count("\n")
    assert before == files_of(out)


def test_places_that_are_refused(capsys, tmp_path):
    """A recording is never written over, nor what is no run of a case; nothing has run."""
    case = case_of(tmp_path / "case", "")
    same = case_of(tmp_path / "else" / "case", "")
    (tmp_path / "file").write_text("")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("")
    before = files_of(tmp_path)
    refused = {
        (case, "--out", case): "holds a recording",
        (case, "--out", str(tmp_path / "file")): "must be a directory, not a file",
        (case, "--out", str(tmp_path / "mine")): "must be empty, new, or hold an earlier run",
        (case, same, "--out", str(tmp_path / "new")): "two cases are named case",
    }
    for words, told in refused.items():
        assert 2 == exit_status(["oracle", *words])
        captured = capsys.readouterr()
        assert "" == captured.out
        assert told in captured.err
        assert 1 == captured.err.count("\n")
    assert before == files_of(tmp_path)


@pytest.mark.parametrize("script", ["snap ..", "snap dmesg.txt", "memhog snap:../../x", "snap ."])
def test_snapshots_stay_below_the_run(capsys, tmp_path, script):
    """A name that is no plain name is refused with file and line."""
    case = case_of(tmp_path / "case", f"{script}\n")
    assert 2 == exit_status(["oracle", case])
    assert "script.txt:1: step" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("bogus\n", ":1: 'bogus' is no command"),
        ("snap a\nmemhog fork\n", ":2: step 'fork': 'fork' is no step"),
        ("memhog dents:9\n", ":1: step 'dents:9' needs 'dents', which is not simulated"),
        ("memhog hold\n", ":1: the script never ends: nobody ends step 'hold'"),
        ("memhog hold &\nwait\n", ":1: the script never ends: nobody ends step 'hold'"),
        ("memhog wait:/x mkfile:/x\n", ":1: the script never ends: nobody ends step 'wait:/x'"),
        ("memhog mmap:a:1M touchw:a:2M\n", ":1: step 'touchw:a:2M' begins behind the end of its"),
        ("sysctl vm.swappiness=x\n", ":1: step 'sysctl vm.swappiness=x': vm.swappiness = 'x'"),
        ("\xff\n", ": must be text (UTF-8)"),
    ],
)
def test_bad_scripts_name_line_and_step(capsys, tmp_path, script, told):
    """Malformed, unknown, for later features, or one that never ends: one line, status 2."""
    case = case_of(tmp_path / "case", "")
    (tmp_path / "case/script.txt").write_bytes(script.encode("latin-1"))
    assert 2 == exit_status(["oracle", case])
    captured = capsys.readouterr()
    assert f"case/script.txt{told}" in captured.err
    assert ("", 1) == (captured.out, captured.err.count("\n"))


def test_steps_on_a_mapping_that_failed(tmp_path):
    """They fail as well, with EINVAL, and the script goes on."""
    steps = "touchw:a randw:a:1:5 randtime:a:1:1:50 madvise:a:dontneed munmap:a grow:1M:1M:0"
    case = case_of(tmp_path / "case", f"memhog mmap:a:0 {steps} mark:end\n")
    assert 0 == exit_status(["oracle", case, "--out", str(tmp_path / "out")])
    lines = (tmp_path / "out/workload.out").read_text().splitlines()
    results = [line.split("ret=")[1].split()[:2] for line in lines if "ret=" in line]
    assert [["-1", "errno=22"]] * 6 == results[:6]
    assert lines[-1].endswith("mark=end")


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("before/zoneinfo", "Node 0, zone DMA\n"),
        ("before/zoneinfo", None),
        ("before/sysctl_vm.txt", ""),
        ("before/meminfo", "MemTotal: x kB\n"),
        ("before/node0/meminfo", "junk\n"),
        ("later/zoneinfo", "Node 0, zone DMA\n"),
        ("workload.out", "vmdelta now=1\n"),
        ("script.txt", None),
    ],
)
def test_damaged_recordings_are_told_before_anything_runs(
    capsys, tmp_path, monkeypatch, file, text
):
    """One line names the file or the snapshot; None stands for a directory in its place."""
    monkeypatch.setattr("kernelsim.oracle.case_run.Machine.run", None)
    case = tmp_path / "case"
    shutil.copytree(CASES / "s04", case)
    path = case / file
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    path.mkdir() if text is None else path.write_text(text)
    out = tmp_path / "out"
    assert 2 == exit_status(["oracle", str(case), "--out", str(out)])
    captured = capsys.readouterr()
    assert str(path.parent if "/" in file else path) in captured.err
    assert ("", 1) == (captured.out, captured.err.count("\n"))
    assert not out.exists() or not any(out.iterdir())
