"""Tell what a workload file is, by its content: Python, a script, a recording, or an OOM report.

Interface: `kind_of`.
"""

import ast
import re
from pathlib import Path
from typing import Final, Literal

from kernelsim.config.oom_report import INVOKED
from kernelsim.errors import WorkloadError, shown
from kernelsim.workload.allocation_trace import is_trace, library_call
from kernelsim.workload.call_lines import KNOWN, call_of
from kernelsim.workload.fault_recording import fault_of
from kernelsim.workload.lackey import is_recording
from kernelsim.workload.masim import is_masim
from kernelsim.workload.recording_text import DAMAGED, WHOLE_GZIP, open_bytes
from kernelsim.workload.script.script import COMMANDS, PROGRAMS

Kind = Literal["python", "script", "lackey", "oom", "faults", "strace", "masim", "allocations"]
KINDS: Final = (
    "a Python file with one @workload or @simulation, a portable script (lines such as "
    "`memhog mmap:a:1M touchw:a`), a recording (valgrind --tool=lackey --trace-mem=yes, strace -f, "
    "page faults of perf script, perf trace -F all or ftrace's page_fault_user, ltrace of malloc "
    "and free), a trace of allocations (`m 1 64`), a configuration of masim, or a kernel log with "
    "an OOM report"
)
PACKED: Final = ("lackey", "allocations")  # whose readers unpack .gz
HEAD_BYTES: Final = 1 << 16  # of a file
RECORDED_LINES: Final = 50  # of a file in which a recording shows what it is
LACKEY: Final = re.compile(r"(==\d+==.*|I  [0-9a-fA-F]+,\d+| [LSM] [0-9a-fA-F]+,\d+)\s*")
PYTHON_ONLY: Final = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef)


def kind_of(path: Path) -> Kind:
    """Return what a file is.

    Raises:
        WorkloadError: It cannot be read, is compressed though nothing unpacks its kind, or is none
            of these; says what was seen.
    """
    if is_recording(path):  # its mistakes are told as a recording's
        return "lackey"
    try:
        kind = _kind_by_content(path)
    except DAMAGED:
        raise WorkloadError(WHOLE_GZIP, path) from None
    except OSError as error:
        raise WorkloadError(error.strerror or str(error), path) from None
    if path.suffix == ".gz" and kind not in PACKED:
        rule = "must be unpacked first: only recordings of lackey and of allocations may be .gz"
        raise WorkloadError(rule, path)
    return kind


def _kind_by_content(path: Path) -> Kind:
    with open_bytes(path) as file:  # a recording may be larger than memory
        text = file.read(HEAD_BYTES).decode(errors="replace")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    first = lines[0] if lines else ""
    if LACKEY.fullmatch(first):
        return "lackey"
    is_command = first.split(" ", maxsplit=1)[0].strip() in (*PROGRAMS, *COMMANDS)
    if is_command and not _is_python(text):
        return "script"
    if path.suffix == ".py" or _is_python(text):
        return "python"
    if _has_oom_report(path):
        return "oom"
    if any(LACKEY.fullmatch(line) for line in lines[:RECORDED_LINES]):  # its program printed, too
        return "lackey"
    told = [line for line in lines if line.lstrip("+-. ").strip()][:RECORDED_LINES]
    if any(fault_of(line, {}) is not None for line in told):
        return "faults"
    calls = [call for call in map(call_of, told) if call is not None]
    if any(call.name in KNOWN for call in calls):
        return "strace"
    if is_masim(text):
        return "masim"
    if any(map(library_call, told)) or (lines and is_trace(lines[:RECORDED_LINES])):
        return "allocations"
    seen = f"it begins with {shown(first.strip())}" if first else "it is empty"
    raise WorkloadError(f"must be {KINDS}; {seen}", path)


def _has_oom_report(path: Path) -> bool:
    """Return whether a line of a kernel log says that somebody invoked the OOM killer."""
    with open_bytes(path) as file:
        return any(INVOKED.encode() in line for line in file)


def _is_python(text: str) -> bool:
    """Return whether a text is a program: one that imports or defines something."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return False
    return any(isinstance(node, PYTHON_ONLY) for node in tree.body)
