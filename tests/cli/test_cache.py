"""Tests of `kernelsim cache`."""

import pytest

from kernelsim.cli import main as cli

MSR = "".join(
    f"{128166372003061629 + 10_000_000 * second},hm,0,Read,{4096 * page},8192,1\n"
    for second, page in enumerate([0, 1, 2, 0, 1, 2])
)


@pytest.fixture
def told(capsys, tmp_path, monkeypatch):
    """Give a function that runs the command beside a trace `hm.csv`: status, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hm.csv").write_text(MSR)

    def tell(*words):
        status = cli.exit_status(["cache", *words])
        said = capsys.readouterr()
        return status, said.out, said.err

    return tell


def test_a_table_of_policies_and_sizes(told):
    """A row for each policy and size, in the order asked for."""
    words = ("hm.csv", "--size", "8K", "--size", "16K", "--policy", "lru", "--policy", "two_lists")
    table = (
        "policy     size    hits of 12  hit rate\n"
        "lru        8 KiB   4           33.33 %\n"
        "two_lists  8 KiB   5           41.66 %\n"
        "lru        16 KiB  8           66.66 %\n"
        "two_lists  16 KiB  8           66.66 %\n"
    )
    assert told(*words) == (cli.EXIT_DONE, table, "")


def test_hits_over_time(told):
    """A row for each window of the trace's own time, a column for each cache."""
    assert told("hm.csv", "--size", "16K", "--policy", "lru", "--over-time", "3s") == (
        cli.EXIT_DONE,
        "from  accesses  lru 16 KiB\n0 ns  6         33.33 %\n3 s   6         100.00 %\n",
        "",
    )


def test_as_csv(told):
    """A line for each window and cache, in plain numbers."""
    status, out, _ = told("hm.csv", "--size", "16K", "--policy", "lru", "--over-time=3s", "--csv")
    assert status == cli.EXIT_DONE
    assert out == (
        "begin_ns,policy,size_bytes,accesses,hits\n0,lru,16384,6,2\n3000000000,lru,16384,6,6\n"
    )


def test_another_csv(told, tmp_path):
    """The columns are told as libCacheSim takes them; all policies run unless some are chosen."""
    (tmp_path / "t.csv").write_text("a\nb\na\nb\na\n")
    status, out, err = told("t.csv", "--size", "4M", "-t", "obj-id-col=1")
    assert (status, err) == (cli.EXIT_DONE, "")
    assert [line.split()[-2] for line in out.splitlines()[1:]] == ["60.00"] * 6


def test_made_traces_need_no_file(told):
    """The seed decides what is drawn."""
    words = ("zipf", "--size=1M", "--policy=lru", "--pages=500", "--requests=2000", "--csv")
    first, again, other = told(*words), told(*words), told(*words, "--seed", "2")
    assert first == again
    assert first[0] == cli.EXIT_DONE
    assert first[1] != other[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["hm.csv", "--size", "1"], "--size = '1': must be 4K, which is a page, to 16T"),
        (["hm.csv", "--size", "1E"], "--size = '1E': a size is a whole number of bytes"),
        (["hm.csv"], "--size requires an argument"),
        (["hm.csv", "--size", "1M", "--policy", "fifo"], "--policy = 'fifo': must be one of lru,"),
        (["hm.csv", "--size", "1M", "--read-ahead", "-1"], "--read-ahead = -1: must be 0 to"),
        (["hm.csv", "--size", "1M", "--over-time", "0"], "must be more than nothing"),
        (["hm.csv", "--size", "1M", "--block", "512"], "goes with --trace-type-params"),
        (["hm.csv", "--size", "1M", "--time-unit", "1s"], "goes with --trace-type-params"),
        (["hm.csv", "--size", "1M", "-t", "obj-id-col=1", "--time-unit", "0"], "must be more than"),
        (["hm.csv", "--size", "1M", "--seed", "2"], "--seed = 2: goes with a made trace"),
        (["hm.csv", "--size", "1M", "--pages", "2"], "--pages = 2: goes with a made trace"),
        (["hm.csv", "--size", "1M", "--requests", "2"], "--requests = 2: goes with a made"),
        (["zipf", "--size", "1M", "-t", "obj-id-col=1"], "goes with a recorded trace"),
        (["zipf", "--size", "1M", "--block", "512"], "goes with a recorded trace"),
        (["zipf", "--size", "1M", "--time-unit", "1s"], "goes with a recorded trace"),
        (["hm.csv", "--size", "1M", "-t", "size=3"], "must be as in time-col=1"),
        (["zipf", "--size", "1M", "--pages", "0"], "--pages = 0: must be 1 to 10000000"),
        (["none.csv", "--size", "1M"], "none.csv: must be readable (No such file"),
        (["bad.csv", "--size", "1M"], "bad.csv:2: must be timestamp,host,disk,Read|Write"),
    ],
)
def test_wrong_use(told, tmp_path, words, said):
    """One line, status 2."""
    (tmp_path / "bad.csv").write_text(MSR.splitlines()[0] + "\n1,2,3\n")
    status, out, err = told(*words)
    assert (status, out, err.count("\n")) == (cli.EXIT_WRONG_USE, "", 1)
    assert said in err
