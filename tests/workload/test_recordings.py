"""Tests of recordings of other tools: each is told from its content and replayed."""

import gzip
import re
from errno import ENOMEM

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelsim.cli import main as cli
from kernelsim.errors import RecordingError
from kernelsim.workload.allocation_run import allocations_machine, allocations_workload
from kernelsim.workload.allocation_trace import (
    LibraryCall,
    Operation,
    library_call,
    read_allocations,
)
from kernelsim.workload.call_lines import KNOWN, call_of, files_of, processes_of, read_calls
from kernelsim.workload.fault_recording import DSO_BASE, fault_of
from kernelsim.workload.masim import Masim, Pattern, Phase, drawn, offsets_of, read_masim
from kernelsim.workload.script.kinds import kind_of
from tests.small_machine import OpenMachine

pytestmark = pytest.mark.mission("B5")

PERF_SCRIPT = """\
app 17  2367.027985:          1   page-faults:     5640978361e0
my app 17/18 [001] 2367.028199:          1   page-faults:u:     7fbc57650110
"""
PERF_TRACE = """\
     0.000 ( 0.000 ms): app/17 minfault [main+0x28a] => 0x55fde50f11e0 (?k)
     0.047 ( 0.000 ms): app/17 majfault [main+0x29a] => /lib/libc.so.6@0x9110 (d.)
"""
FTRACE = """\
# tracer: nop
            app-17    [001] d..1. 100.000001: page_fault_user: address=0x7f0000001000 ip=0x401000 error_code=0x6
            app-17    (   17) [001] d..1. 100.000002: page_fault_user: address=0x7f0000002008 ip=0x401004 error_code=0x4
 app 17 [000] 100.000003: exceptions:page_fault_user: address=0x7f0000009fff ip=0x401008 error_code=0x6
"""  # noqa: E501 - as it is printed
STRACE = """\
17 execve("/bin/app", ["app"], 0x7ffd /* 20 vars */) = 0
17 brk(NULL)                         = 0x55f91d05f000
17 brk(0x55f91d080000)               = 0x55f91d080000
17 openat(AT_FDCWD, "/data", O_RDONLY|O_CLOEXEC) = 3
17 mmap(NULL, 1048576, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS|MAP_POPULATE, -1, 0) = 0x7fdbfe000000
[pid 18] read(3,  <unfinished ...>
17 clone(child_stack=NULL, flags=CLONE_VM|CLONE_THREAD) = 18
17 read(3, "a, b) = 7\\"..."..., 8192) = 8192
17 pread64(3</data>, ""..., 4096, 16384) = 4096
17 mmap(NULL, 4096, PROT_READ, MAP_SHARED, 3, 4096) = 0x7fdbfdfff000
[pid 18] <... read resumed>"x"..., 100) = 100
18 munmap(0x7fdbfe000000, 524288)   = 0
17 mmap(NULL, 99, PROT_READ, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = -1 ENOMEM (Cannot allocate memory)
17 close(3) = 0
17 +++ exited with 0 +++
"""  # noqa: E501 - as it is printed
MASIM = """\
#regions
hot, 40960
cold, 81920

warm up
1
cold, 0, 4096, 1

hot phase
1
hot, 1, 4096, 3, rw
cold, 0, 64, 0, ro
"""
LTRACE = """\
[pid 17] libc.so.6->malloc(24)            = 0x12ecff0
17 strlen("abc")                                 = 3
17 calloc(10, 4096)                              = 0x12ed010
18 malloc(8192 <unfinished ...>
17 realloc(0x12ecff0, 100000)                    = 0x12f7020
18 <... malloc resumed> )                        = 0x1303020
17 free(0x12ed010)                               = <void>
17 free(0x99)                                    = <void>
17 +++ exited (status 0) +++
"""
ALLOCATIONS = "w 1\nm 0 5000\nc 1 10 4096\nk loaded\nr 0 200000\nf 1\nx\ns 1\nm 2 0\nT 0\n"
TABLE = re.compile(r"^(small|end) +VSZ.*\n((?:\S.*\n)+)", re.MULTILINE)
TEXTS = [
    (PERF_SCRIPT, "faults", "page faults     2,"),
    (PERF_TRACE, "faults", "page faults     2,"),
    (FTRACE, "faults", "page faults     3,"),
    (STRACE, "strace", "11 calls made, 0 of them answered otherwise"),
    (MASIM, "masim", "page faults     30,"),
    (MASIM.replace("40960", "40000"), "masim", "page faults     30,"),  # part of a page is a page
    (LTRACE, "allocations", "most bytes            VSZ      RSS  calls"),
    (ALLOCATIONS, "allocations", "loaded                VSZ      RSS  calls"),
]


@pytest.mark.parametrize(("text", "kind", "told"), TEXTS, ids=lambda v: v if len(v) < 8 else "")
def test_it_is_told_from_its_content_and_replayed(text, kind, told, tmp_path, capsys):
    """Whatever it is called; on a machine that fits, the accesses or calls are made."""
    path = tmp_path / "recording"
    path.write_text(text)
    assert kind_of(path) == kind
    status = cli.exit_status(["run", str(path), "--check"])
    said = capsys.readouterr()
    assert (status, said.err) == (cli.EXIT_DONE, "")
    assert told in said.out


def test_faults_are_read_as_they_were_printed():
    """Time, task, address and whether it was a store; the kernel's addresses are left out."""
    files = {}
    faults = [fault_of(line, files) for line in (PERF_SCRIPT + PERF_TRACE + FTRACE).splitlines()]
    assert [(f.pid, f.comm, f.t_ns, hex(f.address), f.write) for f in faults if f] == [
        (17, "app", 2367027985000, "0x5640978361e0", True),
        (17, "my app", 2367028199000, "0x7fbc57650110", True),
        (17, "app", 0, "0x55fde50f11e0", True),
        (17, "app", 47000, hex(DSO_BASE + 0x9110), True),
        (17, "app", 100000001000, "0x7f0000001000", True),
        (17, "app", 100000002000, "0x7f0000002008", False),
        (17, "app", 100000003000, "0x7f0000009fff", True),
    ]
    assert (
        fault_of(PERF_SCRIPT.splitlines()[0].replace("5640978361e0", "ffffffff81000000"), {})
        is None
    )


def test_calls_are_read_with_those_that_others_interrupted(tmp_path):
    """Arguments, results, threads; the sizes of files follow from what was read and mapped."""
    path = tmp_path / "s"
    path.write_text(STRACE)
    calls = list(read_calls(path))
    assert [(call.pid, call.name, call.result) for call in calls[-7:-2]] == [
        (17, "pread64", 4096),
        (17, "mmap", 0x7FDBFDFFF000),
        (18, "read", 100),
        (18, "munmap", 0),
        (17, "mmap", -ENOMEM),
    ]
    assert calls[6].words[1:] == ('"a, b) = 7\\"..."...', "8192")
    assert files_of(path) == {"/data": 16384 + 4096}


FAMILY = """\
12:00:01.000001 brk(NULL) = 0x55f91d05f000
12:00:01.000002 mmap(NULL, 8192, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS|MAP_POPULATE, -1, 0) = 0x7fdbfe000000
12:00:01.000003 clone3({flags=CLONE_VM|CLONE_FILES|CLONE_THREAD, stack=0x7f} => {parent_tid=[18]}, 88) = 18
[pid    18] 12:00:02.000001 openat(AT_FDCWD, "/data", O_RDWR|O_CREAT, 0666) = 3
[pid    17] 12:00:02.000002 pread64(3,  <unfinished ...>
[pid    18] 12:00:02.000003 madvise(0x7fdbfe000000, 4096, MADV_GUARD_INSTALL) = 0
[pid    17] 12:00:02.000004 <... pread64 resumed>"x"..., 4096, 40960) = 4096
[pid    18] 12:00:02.000005 exit(0) = ?
[pid    18] 12:00:02.000006 +++ exited with 0 +++
[pid    17] 12:00:03.000001 vfork( <unfinished ...>
[pid    19] 12:00:03.000002 close(3) = 0
[pid    19] 12:00:03.000003 execve("/bin/child", ["child"], 0x7ffd /* 9 vars */) = 0
[pid    17] 12:00:03.000004 <... vfork resumed>) = 19
[pid    19] 12:00:03.000005 brk(NULL) = 0x561000000000
[pid    19] 12:00:03.000006 brk(0x561000021000) = 0x561000021000
[pid    19] 12:00:03.000007 munmap(0x7fdbfe000000, 8192) = 0
[pid    19] 12:00:03.000008 +++ exited with 0 +++
12:00:04.000001 read(3, "x"..., 100) = 100
12:00:04.000002 +++ exited with 0 +++
"""  # noqa: E501 - as it is printed


def test_threads_and_children_are_told_apart(tmp_path, capsys):
    """A thread has its process's files and memory; a child of vfork its own once it has exec'd.

    The clock of -tt does not hide who resumes, and who strace named only later is who began.
    """
    path = tmp_path / "family.strace"
    path.write_text(FAMILY)
    calls = list(read_calls(path))
    processes = processes_of(calls)
    assert [processes.process_of(call.pid) for call in calls if call.name != "+++"] == (
        [0] * 7 + [19, 19, 0, 19, 19, 19, 0]
    )
    assert [call.result for call in calls if call.name == "pread64"] == [4096]
    assert files_of(path) == {"/data": 40960 + 4096}
    assert cli.exit_status(["run", str(path), "--check"]) == cli.EXIT_DONE
    said = capsys.readouterr().out
    assert "10 calls made, 0 of them answered otherwise; 8 KiB held" in said  # once, not a thread
    assert "left out: madvise 1" in said
    rows = said.partition("\npid ")[2].splitlines()[1:]
    assert sorted(row.split()[:3] for row in rows) == [
        ["100", "family", "2"],
        ["101", "child", "0"],
    ]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("17 mmap() = 0", None),
        ("17 madvise(0x7f0000000000, 4096) = 0", None),
        ("17      0.000012 munmap(0x1000, 4096) = -1 EINVAL (Invalid argument) <0.000004>", -22),
        ("     0.000012 umask(022) = 022", 18),
        ('17 openat(AT_FDCWD, "/x", O_CREAT, 0644) = 08', 8),
    ],
)
def test_a_line_is_a_whole_call_or_none(line, told):
    """Too few arguments are none; an error is its errno, a mode is octal."""
    call = call_of(line)
    assert (call and call.result) == told


@given(st.text(alphabet='abc(),"[]{}= \\x0', max_size=60))
def test_no_line_breaks_the_readers(line):
    """Any text is a call, a fault, or neither."""
    call = call_of(f"17 read({line}) = 3")
    assert call is None or call.result == 3
    assert fault_of(line, {}) is None


def test_library_calls_become_operations_on_blocks(tmp_path):
    """A block keeps its number when it moves; interrupted calls count, unknown blocks do not."""
    path = tmp_path / "l"
    path.write_text(LTRACE)
    assert read_allocations(path) == [
        Operation("w", 1),
        Operation("m", 0, 1, 24),
        Operation("c", 2, 10, 4096),
        Operation("r", 0, 1, 100000),
        Operation("m", 4, 1, 8192),
        Operation("f", 2),
    ]
    assert library_call("17 malloc(24) = nil") == LibraryCall("malloc", (24,), 0)
    assert library_call("17 malloc() = 0x10") is None


def test_each_allocator_gets_the_same_blocks(tmp_path):
    """All five at each moment, with at least the pages that hold the blocks, and not ten times."""
    path = tmp_path / "t"
    path.write_text(ALLOCATIONS)
    moments = OpenMachine(allocations_machine(path)).run(allocations_workload(path))
    assert list(moments) == ["ptmalloc2", "dlmalloc", "jemalloc", "tcmalloc", "libumem"]
    for own in moments.values():
        assert list(own) == ["loaded", "most bytes", "end"]
        assert 45 <= own["loaded"].rss
        assert own["most bytes"].rss >= 240_000 // 1024
        assert own["end"].faults * 4 >= own["end"].rss
    assert moments["ptmalloc2"]["end"].rss < moments["ptmalloc2"]["most bytes"].rss


def test_an_allocator_without_memory_goes_on_without_the_block(tmp_path, capsys):
    """What malloc refused is told by the number of blocks; the run ends well."""
    path = tmp_path / "t"
    path.write_text("m 0 200000000000000\nm 1 100\nf 0\n")
    machine = tmp_path / "m.toml"
    machine.write_text('name = "m"\n[[node]]\ncpus = "0"\nmemory = "64M"\n')
    assert cli.exit_status(["run", str(path), "--machine", str(machine)]) == cli.EXIT_DONE
    assert "ptmalloc2 had no memory for 1 blocks" in capsys.readouterr().out


@pytest.mark.parametrize("last", ["", "T 1\n"])
def test_an_allocator_whose_process_is_killed_leaves_the_others_their_table(last, tmp_path, capsys):
    """A copy to a larger block gets no page: the note tells the operation, the table all others."""
    path, machine = tmp_path / "t", tmp_path / "m.toml"
    path.write_text(f"m 0 100\nk small\nm 1 7000000\nT 1\nr 1 9000000\n{last}")
    machine.write_text('name = "small"\n[[node]]\ncpus = "0"\nmemory = "16M"\n')
    words = [str(path), "--machine", str(machine), "--set", "vm.overcommit_memory=1"]
    assert cli.exit_status(["run", *words]) == cli.EXIT_DONE
    said = capsys.readouterr()
    assert said.err == ""
    assert f"tcmalloc was ended in operation 5 of {7 + bool(last)}" in said.out
    tables = {title: told.splitlines() for title, told in TABLE.findall(said.out)}
    assert len(tables["small"]) == 5
    assert {"tcmalloc", "ptmalloc2"} & {row.split()[0] for row in tables["end"]} == {"ptmalloc2"}


def test_masim_is_read_and_drawn(tmp_path):
    """Regions, phases and patterns; turns stay inside their region and go on where they ended."""
    path = tmp_path / "m"
    path.write_text(MASIM)
    hot, cold = Pattern("hot", True, 4096, 3, "rw"), Pattern("cold", False, 64, 0, "ro")
    first = Pattern("cold", False, 4096, 1, "wo")
    regions = {"hot": 40960, "cold": 81920}
    phases = (Phase("warm up", 10**6, (first,)), Phase("hot phase", 10**6, (hot, cold)))
    assert read_masim(path) == Masim(regions, phases)

    class Draws:
        def below(self, bound):
            return bound - 1

    cursors = {"hot": 0, "cold": 77824}
    assert list(offsets_of(cold, 81920, cursors, Draws()))[:3] == [77824, 0, 4096]
    assert set(offsets_of(hot, 40960, cursors, Draws())) == {40959}
    assert drawn((hot, cold), Draws()) == hot
    for wrong in ("hot, 1, 4096", "warm, 1, 4096, 1", "hot, x, 4096, 1"):
        path.write_text(MASIM.replace("hot, 1, 4096, 3, rw", wrong))
        with pytest.raises(RecordingError, match="a pattern must be"):
            read_masim(path)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["strace", "./a b", "-x"], " -o 'a b'.strace './a b' -x\nkernelsim run 'a b'.strace\n"),
        (["lackey"], "valgrind --tool=lackey --trace-mem=yes --log-file=ls.lackey ls\n"),
        (["faults", "ls"], "perf script -i ls.data"),
        (["allocations"], "-o ls.ltrace ls\nkernelsim run ls.ltrace\n"),
    ],
)
def test_record_prints_the_commands(words, told, capsys):
    """One to record, one to replay; an unknown kind is refused."""
    assert cli.exit_status(["record", *words]) == cli.EXIT_DONE
    assert told in capsys.readouterr().out
    assert cli.exit_status(["record", "video"]) == cli.EXIT_WRONG_USE
    assert "must be one of strace, lackey, faults, allocations" in capsys.readouterr().err


def test_strace_records_every_call_that_is_replayed(capsys):
    """What `memory` and `process` do not hold is listed by name."""
    assert cli.exit_status(["record", "strace"]) == cli.EXIT_DONE
    listed = capsys.readouterr().out.partition("trace=")[2].split()[0].split(",")
    in_memory = {"brk", "mmap", "munmap", "mremap", "mprotect", "madvise"}
    assert set(listed) == set(KNOWN) - in_memory | {"memory", "process"}


def test_a_configuration_whose_process_is_killed_ends(tmp_path, capsys):
    """Its process is no more when memory has run out: its run says so and ends well."""
    path, machine = tmp_path / "m", tmp_path / "m.toml"
    path.write_text(MASIM.replace("cold, 81920", "cold, 81920000").replace("\n1\n", "\n20\n"))
    machine.write_text('name = "small"\n[[node]]\ncpus = "0"\nmemory = "16M"\n')
    words = [str(path), "--machine", str(machine), "--set", "vm.overcommit_memory=1"]
    assert cli.exit_status(["run", *words]) == cli.EXIT_DONE
    assert "OOM kills       1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (MASIM, "must be unpacked first"),
        (STRACE, "must be unpacked first"),
        (LTRACE, ""),
    ],
)
def test_only_some_are_unpacked(text, told, tmp_path, capsys):
    """What only looks into the text of a .gz is refused in one line, not read as if it were one."""
    path = tmp_path / "r.gz"
    path.write_bytes(gzip.compress(text.encode()))
    assert cli.exit_status(["run", str(path)]) == (2 if told else cli.EXIT_DONE)
    said = capsys.readouterr().err
    assert (told in said, said.count("\n")) == (True, bool(told))


def damaged(data):
    """Return three damaged copies of what gzip made: cut short, a byte changed, none at all."""
    middle = len(data) // 2
    return data[:middle], data[:10] + b"\xff" * 9 + data[19:], b"no gzip"


@pytest.mark.parametrize("number", range(3))
def test_a_damaged_gzip_is_one_line(number, tmp_path, capsys):
    """Whoever reads it: the one who asks what it is, and the reader of allocations."""
    path = tmp_path / "r.gz"
    path.write_bytes(damaged(gzip.compress(LTRACE.encode()))[number])
    assert cli.exit_status(["run", str(path)]) == cli.EXIT_WRONG_USE
    assert "must be a whole gzip file" in capsys.readouterr().err
    with pytest.raises(RecordingError, match="must be a whole gzip file"):
        read_allocations(path)


def test_what_is_none_of_them_is_refused(tmp_path, capsys):
    """Other calls of a library and other traces get one line that names the kinds."""
    for text in ('17 strlen("a") = 1\n', "version,time,op\n1,5633898,2a\n"):
        path = tmp_path / "x"
        path.write_text(text)
        assert cli.exit_status(["run", str(path)]) == cli.EXIT_WRONG_USE
        assert "strace -f" in capsys.readouterr().err
