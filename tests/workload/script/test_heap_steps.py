"""Steps of scripts that allocate: what they report is what the recorded program reported."""

import re

import pytest

from kernelsim.cli import main as cli

ADDRESS = re.compile(r"0x[0-9a-f]+")


@pytest.fixture(name="lines")
def lines_of(tmp_path, capsys):
    """Return a function: what a process prints that does these steps."""

    def lines(steps, *options):
        path = tmp_path / "script"
        path.write_text(f"memhog name:p {steps}\n")
        words = ["run", str(path), "--machine", "tiny-64m", *options]
        assert cli.exit_status(words) == cli.EXIT_DONE
        return [line for line in capsys.readouterr().out.splitlines() if line.startswith("proc=")]

    return lines


def test_blocks_tell_where_they_lie(lines):
    """Their place modulo 16, their usable size; a freed one is the next of its size."""
    told = lines("malloc:a:100 free:a malloc:b:100 mallocw:c:1M touchw:c free:c")
    assert "mod16=0" in told[0]
    assert "usable=104" in told[0]
    assert ADDRESS.findall(told[0]) == ADDRESS.findall(told[2])
    assert " minflt=257 " in told[3]
    assert " minflt=0 " in told[4]


def test_the_heap_shrinks_and_grows(lines):
    """malloc_trim tells whether it gave something back; sbrk moves the end, brkinfo tells it."""
    told = lines("malloc:a:100K malloc:b:100 free:a mtrim mtrim brkinfo sbrk:64K brkinfo")
    assert [re.search(r"ret=(\d)", line)[1] for line in told[3:5]] == ["1", "1"]
    before, _, after = (ADDRESS.findall(line)[0] for line in told[5:8])
    assert int(after, 16) - int(before, 16) == 64 << 10


def test_rounds_of_one_size(lines):
    """The first faults, the others find their pages; a mapping faults until the threshold moves."""
    told = lines("mcycle:64K:3")
    assert [re.search(r"minflt=(\d+)", line)[1] for line in told[1:3]] == ["0", "0"]
    faults = [int(re.search(r"minflt=(\d+)", line)[1]) for line in lines("mcycle:1M:3")[:3]]
    assert faults[2] == 0 < faults[1] < faults[0] + 2


def test_until_there_is_no_memory(lines):
    """Under mode 2 a loop ends with ENOMEM, having told the machine's state meanwhile."""
    told = lines("mallocloop:4M:1G:2 probe:1G probe:100K", "--set", "vm.overcommit_memory=2")
    assert "mallocs=2 total_bytes=8388608 " in told[0]
    assert " ret=-1 errno=12 " in told[-3]
    assert " ret=-1 errno=12 " in told[-2]
    assert " ok=0 " in told[-2]
    assert " ok=1 " in told[-1]


def test_a_block_that_was_not_to_be_had(lines):
    """Freeing it does nothing, as free(NULL)."""
    told = lines("malloc:a:1T free:a")
    assert "ret=-1 errno=12" in told[0]
    assert "ret=0 errno=0" in told[1]


def test_page_tables_for_nothing(lines):
    """The step spreadpt reads a page of every 2 MB: a table each, and no memory but those."""
    told = lines("mem brkinfo spreadpt:20")
    before, after = (int(re.search(r"VmPTE_kB=(\d+)", told[i])[1]) for i in (0, 2))
    assert 4 * 20 <= after - before <= 4 * 21
    assert re.search(r"RssAnon_kB=\d+", told[0])[0] == re.search(r"RssAnon_kB=\d+", told[2])[0]
    assert " ret=0 errno=0 minflt=20 " in told[3]


def test_a_region_is_filled(lines):
    """The step fillrand stores to each page of a region."""
    assert " minflt=64 " in lines("mmap:a:256K fillrand:a:7")[-1]
