"""The lines of a trace: what each says, and what is wrong with a file."""

import gzip

import numpy as np
import pytest

from kernelsim.errors import RecordingError
from kernelsim.workload.lackey_lines import LeftOut, read_accesses
from tests.lackey_trace import HEADER, line_of, write_trace

GOOD = line_of("L", 0x1000, 8)


def test_lines_become_columns(tmp_path):
    """Each access is a page with its kind; one that straddles two pages counts on both."""
    lines = [("I", 0x1000, 4), ("L", 0x2FFC, 8), ("S", 0x5000, 8), ("M", 0x6000, 1)]
    path = write_trace(tmp_path, HEADER + "".join(line_of(*line) for line in lines))
    (block,) = read_accesses(path, 4000)

    assert [1, 2, 3, 5, 6] == block.vpn.tolist()
    assert [True, False, False, False, False] == block.fetch.tolist()
    assert [False, False, False, True, True] == block.store.tolist()
    assert 4 == block.nr_lines


@pytest.mark.parametrize(
    ("text", "line", "rule"),
    [
        (GOOD + GOOD + " L 0000zz00,8\n" + GOOD, 3, "hex digits"),
        (" L 0000100A,8\n", 1, "hex digits"),
        (" L ,8\n", 1, "hex digits"),
        (" L 11112222333344445,8\n", 1, "1 to 16"),
        (" L 00001000\n", 1, "a comma and a size"),
        (" L 00001000,\n", 1, "a comma and a size"),
        (" L 00001000,x\n", 1, "a comma and a size"),
        (" L 00001000,0\n", 1, "a comma and a size"),
        (" L 00001000, 8\n", 1, "a comma and a size"),
        ("the program's own words\nX  00001000,8\n", 3, "at least one access"),
        (" L ffffffffffffffff,8\n", 1, "64-bit address space"),
        (GOOD + " L 000010", 2, "cut short"),
        (GOOD + " L 00001000,8", 2, "cut short"),
        ("", 1, "at least one access"),
        (HEADER, 4, "at least one access"),
        (GOOD + "\0\1\2", 2, "binary"),
        (GOOD + " L 0000\xe9000,8\n", 2, "text"),
        ("x" * 9000, 1, "at most 4096 bytes"),
    ],
)
def test_faults_name_file_line_and_rule(tmp_path, text, line, rule):
    """Whatever is wrong with a trace is one line with file, line and rule."""
    path = write_trace(tmp_path, text)

    with pytest.raises(RecordingError, match=rule) as caught:
        list(read_accesses(path, 4000))

    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert "\n" not in str(caught.value)


def test_what_a_terminal_or_the_program_adds_changes_nothing(tmp_path):
    """Carriage returns, trailing blanks, superblocks, empty lines, output: the same accesses."""
    lines = [line_of("I", 0x1000, 4), line_of("L", 0x2FFC, 8), line_of("S", 0x5000, 8)]
    plain = write_trace(tmp_path, HEADER + "".join(lines))
    others = [
        "hello\n",
        "== not valgrind\n",
        "X  00001000,8\n",
        "L 1,8\n",
        "I\n",
        "gr\xfc\xdfe\r\n",
    ]
    mixed = "".join(
        f"SB 0400{n}000 \n{other}{line.strip(chr(10))}{' ' * n}\t\r\n\r\n"
        for n, (line, other) in enumerate(zip(lines, others[:3], strict=True))
    )
    text = others[3] + HEADER.replace("\n", "\r\n") + mixed + others[4] + others[5]
    for block_bytes in (64, 4000):
        [*told], left_out = read_accesses(plain, 4000), LeftOut()
        seen = list(read_accesses(write_trace(tmp_path, text, "m.lackey"), block_bytes, left_out))
        for name in ("vpn", "store", "fetch"):
            expected = getattr(told[0], name).tolist()
            assert expected == np.concatenate([getattr(each, name) for each in seen]).tolist()
        assert sum(each.nr_lines for each in seen) == len(lines)
        assert (left_out.nr, left_out.line, left_out.text) == (len(others), 1, "L 1,8")


def test_faults_count_lines_across_blocks(tmp_path):
    """The line of a fault counts from the start of the file, not of the block."""
    path = write_trace(tmp_path, GOOD * 100 + " L bad\n")

    with pytest.raises(RecordingError) as caught:
        list(read_accesses(path, 64))
    assert 101 == caught.value.line


@pytest.mark.parametrize("name", ["missing.lackey", "missing.lackey.gz", "."])
def test_unreadable_traces_are_refused(tmp_path, name):
    """A missing file or a directory is refused with its name."""
    with pytest.raises(RecordingError, match="must be readable"):
        list(read_accesses(tmp_path / name, 4000))


def test_damaged_gzip_is_refused(tmp_path):
    """A gzip file that is cut short, and one that is none, are refused."""
    packed = gzip.compress((GOOD * 1000).encode())
    for data in (packed[: len(packed) // 2], b"no gzip at all"):
        path = tmp_path / "t.lackey.gz"
        path.write_bytes(data)
        with pytest.raises(RecordingError, match="whole gzip file"):
            list(read_accesses(path, 4000))
