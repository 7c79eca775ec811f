"""`kernelsim record`: say how to record a program so that `kernelsim run` replays it."""

import shlex
from typing import Annotated, Final

from cyclopts import Parameter

from kernelsim.errors import ConfigError

COMMANDS: Final = {
    "strace": (
        "strace -f -e trace=memory,process,open,openat,creat,close,read,write,pread64,pwrite64,"
        "lseek,fsync,fdatasync "
        "-o {name}.strace {program}"
    ),
    "lackey": ("valgrind --tool=lackey --trace-mem=yes --log-file={name}.lackey {program}"),
    "faults": (
        "perf record -e page-faults -c 1 -d -o {name}.data {program} && "
        "perf script -i {name}.data -F comm,tid,time,period,event,addr > {name}.faults"
    ),
    "allocations": "ltrace -f -e malloc+calloc+realloc+free -o {name}.ltrace {program}",
}
SUFFIX: Final = {
    "strace": "strace",
    "lackey": "lackey",
    "faults": "faults",
    "allocations": "ltrace",
}


def record(kind: str, *program: Annotated[str, Parameter(allow_leading_hyphen=True)]) -> None:
    """Print the command that records a program, and the one that replays what it wrote.

    Args:
        kind: strace (system calls), lackey (every access to memory), faults (page faults),
            allocations (malloc and free).
        program: The program with its arguments; ls by default.
    """
    if kind not in COMMANDS:
        raise ConfigError("KIND", kind, f"must be one of {', '.join(COMMANDS)}")
    words = program or ("ls",)
    name = words[0].rpartition("/")[2] or "program"
    print(COMMANDS[kind].format(name=shlex.quote(name), program=shlex.join(words)))
    print(f"kernelsim run {shlex.quote(name)}.{SUFFIX[kind]}")
