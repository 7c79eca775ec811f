r"""Shell lines of a recording that print memory blocks, which its portable script leaves out.

case.toml has the shell lines that ran. One of them prints the state of each memory block,
`for b in /sys/devices/system/memory/memory*; do echo blk …; done`; script.txt has only what does
something. So the two are walked side by side, and where the shell printed, the script prints.

Interface: `with_block_prints`.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final

import attrs

from kernelsim.workload.script.script import Command, Kill, Script, ShowBlocks, Sysctl

LOOP: Final = re.compile(r"for b in (?P<words>[^;]*); do (?P<body>.*); done")
BLOCKS: Final = "/sys/devices/system/memory/memory*"
POSITION: Final = re.compile(r"\$\d+")  # a word of `set -- …`: one block


def with_block_prints(script: Script, shell: Sequence[str]) -> Script:
    """Return a script that prints memory blocks where the shell did.

    Args:
        script: What the shell lines were made into.
        shell: The lines of case.toml.

    Returns:
        The script as it is when the two do not go together.
    """
    commands: list[Command] = []
    left = list(script.commands)
    for part in (part for line in shell for part in parts_of(line)):
        loop = LOOP.fullmatch(part)
        if loop is None:
            if left and is_command(part, left[0]):
                commands.append(left.pop(0))
        elif loop["words"] == BLOCKS and loop["body"].startswith("echo blk "):
            commands.append(ShowBlocks(left[0].line if left else 0, "show memory blocks"))
        elif loop["body"].startswith("memhog "):
            pattern = pattern_of(loop["body"])
            words = loop["words"].split()
            nr_max = len(words) if all(map(POSITION.fullmatch, words)) else len(left)
            while nr_max and left and pattern.fullmatch(left[0].text):
                commands.append(left.pop(0))
                nr_max -= 1
    return script if left else attrs.evolve(script, commands=tuple(commands))


def parts_of(line: str) -> Iterator[str]:
    """Yield the commands of a shell line; a loop is one."""
    for part in re.split(r";\s*(?=for )|(?<=done);\s*", line):
        if LOOP.fullmatch(part):
            yield part
        else:
            yield from (word.strip() for word in part.split(";"))


def is_command(part: str, command: Command) -> bool:
    """Tell whether a command of a shell line is what a line of the script was made of."""
    if isinstance(command, Kill):
        return part.startswith("kill -9 ")
    if isinstance(command, Sysctl):
        return part.endswith(f" > /proc/sys/{command.key.replace('.', '/')}")
    return part == command.text


def pattern_of(body: str) -> re.Pattern[str]:
    """Return what the lines of a loop over blocks look like, for whatever block."""
    pieces = re.split(r"\$\{b##\*/\}|\$b\b", body)
    return re.compile(r"\S+".join(map(re.escape, pieces)))
