"""Damaged input never gives a traceback: recorded /proc texts and machine files, line by line.

Whatever is done to a good file, it is read, or refused in one line that names the file.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kernelsim.cli.machine_check import check_machine
from kernelsim.config.from_proc import machine_from_proc
from kernelsim.config.machine_file import load_machine, machine_text
from kernelsim.errors import UserError

CASES = Path(__file__).parents[1] / "oracle" / "cases"
PRESETS = sorted((Path(__file__).parents[2] / "kernelsim/config/presets").glob("*.toml"))
WORDS = ("", "0", "-5", "x", "²", "9" * 19, "LONG", "nan", "[1]", "{}", '"4G"', "\0")
LONG = "9" * 5000  # more digits than Python converts
WHERE = st.integers(0, 10**6)
DAMAGE = st.tuples(
    st.sampled_from(("cut", "drop", "double", "swap", "byte", "word", "empty", "crlf", "nest")),
    WHERE,
    WHERE,
    st.sampled_from(WORDS),
)


def damaged(text: str, damage: tuple[str, int, int, str]) -> bytes:
    """Do one thing to a text: cut it, move or drop a line, replace a byte or a word."""
    kind, first, second, word = damage
    lines = text.split("\n")
    row, other = first % len(lines), second % len(lines)
    if kind == "cut":
        return text[: first % (len(text) + 1)].encode()
    if kind == "byte":
        data = bytearray(text.encode() or b"\n")
        data[first % len(data) : first % len(data) + 1] = bytes([second % 256])
        return bytes(data)
    if kind == "drop":
        del lines[row]
    elif kind == "double":
        lines.insert(other, lines[row])
    elif kind == "swap":
        lines[row], lines[other] = lines[other], lines[row]
    elif kind == "word" and lines[row]:
        words = lines[row].split(" ")
        words[second % len(words)] = LONG if word == "LONG" else word
        lines[row] = " ".join(words)
    elif kind == "empty":
        return b""
    elif kind == "crlf":
        return text.replace("\n", "\r\n").encode()
    elif kind == "nest":
        lines[row] = "x = " + "[" * 2000
    return "\n".join(lines).encode()


def told(error: UserError) -> str:
    """Return a message; it has one line of a length one can read."""
    text = str(error)
    assert "\n" not in text
    assert len(text) < 800
    return text


def complaint(read: Callable[[], object]) -> str | None:
    """Return the message of a reader; None if it reads."""
    try:
        read()
    except UserError as error:
        return told(error)
    return None


@pytest.mark.slow
@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=st.sampled_from(("s01", "s04", "s04e", "s05", "d04_sw60")), at=WHERE, damage=DAMAGE)
def test_damaged_recordings(tmp_path: Path, case: str, at: int, damage) -> None:
    """A recording is read and its figures are checked, or the message names the directory."""
    folder = tmp_path / "case"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(CASES / case / "before", folder / "before")
    shutil.copy(CASES / case / "case.toml", folder)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    path = files[at % len(files)]
    path.write_bytes(damaged(path.read_text(), damage))
    message = complaint(lambda: check_machine(machine_from_proc(folder / "before")))
    assert message is None or str(folder) in message


@pytest.mark.slow
@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=WHERE, first=DAMAGE, second=DAMAGE)
def test_damaged_machine_files(tmp_path: Path, at: int, first, second) -> None:
    """A machine file is read and can be written again, or the message names the file."""
    texts = [path.read_text() for path in PRESETS]
    texts.append(machine_text(machine_from_proc(CASES / "s04" / "before")))
    path = tmp_path / "m.toml"
    path.write_bytes(damaged(texts[at % len(texts)], first))
    path.write_bytes(damaged(path.read_text(errors="replace") or "\n", second))
    message = complaint(lambda: machine_text(load_machine(path)))
    assert message is None or message.startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("vmstat", "nr_free_pages ", f"nr_free_pages {'9' * 19}\nx ", "a whole number below 2^63"),
        ("vmstat", "nr_free_pages ", f"nr_free_pages {'9' * 5000}\nx ", "must be a whole number"),
        ("meminfo", "MemTotal:  ", "MemTotal: " + "9" * 5000, "meminfo:1: "),
        ("memory_blocks.txt", "removable = 1", "removable = x", "is no line of memory_blocks.txt"),
        (
            "zoneinfo",
            "    cpu: 0",
            "    cpu: 77",
            "cpu 77 has page lists, but no node has that CPU",
        ),
        ("sysctl_vm.txt", "swappiness = 60", "swappiness = " + "6" * 5000, "vm.swappiness = "),
        ("zoneinfo", "        spanned  4095", "        spanned  99999999999", "below 64 TiB"),
        (
            "zoneinfo",
            "        spanned  4095",
            "        spanned  0",
            "managed <= present <= spanned",
        ),
    ],
)
def test_figures_no_kernel_prints(tmp_path: Path, name, old, new, message) -> None:
    """Numbers that do not fit, and CPUs that are nowhere, are refused where they stand."""
    folder = tmp_path / "before"
    shutil.copytree(CASES / "s01" / "before", folder)
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new))
    with pytest.raises(UserError) as caught:
        machine_from_proc(folder)
    assert message in told(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('memory = "99T"', "memory must end below 64 TiB"),
        (f'memory = "{"9" * 5000}G"', "node[0].memory = '9"),
        (f"memory = {'9' * 5000}", "not TOML: a number or a nesting has no end"),
        (f"memory = {'[' * 5000}", "not TOML: "),
        (f'memory = "1G"\n[latency]\ntlb_hit_ns = {"9" * 30}', "must be a whole number of 64 bits"),
        (
            'memory = "1G"\n[[device]]\nname="d"\n[[swap]]\ndevice="d"\nsize="999T"',
            "less than 64 T",
        ),
    ],
)
def test_numbers_without_end_in_a_machine_file(tmp_path: Path, text, message) -> None:
    """They cost nothing and are told in one line."""
    path = tmp_path / "m.toml"
    path.write_text(f'name = "m"\n[[node]]\ncpus = "0"\n{text}\n')
    with pytest.raises(UserError) as caught:
        load_machine(path)
    assert message in told(caught.value)
