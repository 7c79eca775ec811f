"""`kernelsim differences`: list where the sources say that we knowingly differ from Linux.

Interface: a difference is a comment that begins a line with `# Differs from Linux: `, with the
comment lines right below it; or the part of a docstring that begins with `Differs: ` or
`Differs from Linux: `, up to the next part or empty line. Each is read here without the code
around it, so it is whole sentences that say what they are about.
"""

import re
from collections.abc import Iterator
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Final

from kernelsim.config.sysctl import IDLE

MARK: Final = "# Differs from Linux: "
DOCSTRING_MARKS: Final = ("Differs from Linux: ", "Differs: ")
PART: Final = re.compile(r"[A-Z][a-z]+:( |$)")  # begins the next part of a docstring


def differences() -> None:
    """List where the simulator knowingly differs from Linux, one line each with its place."""
    package = resources.files("kernelsim")
    for name, file in sorted_sources(package, "kernelsim"):
        source = file.read_text(encoding="utf-8")
        for line, text in sorted([*marked_comments(source), *docstring_parts(source)]):
            print(f"{name}:{line}: {text}")
    for key, why in IDLE.items():
        print(f"kernelsim/config/sysctl.py: {key} is accepted and changes nothing yet: {why}.")


def sorted_sources(folder: Traversable, name: str) -> Iterator[tuple[str, Traversable]]:
    """Walk the Python files below a folder by name."""
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        path = f"{name}/{entry.name}"
        if entry.is_dir():
            yield from sorted_sources(entry, path)
        elif entry.name.endswith(".py"):
            yield path, entry


def marked_comments(source: str) -> Iterator[tuple[int, str]]:
    """Find the marked comments of a source.

    Returns:
        Line number from 1, and the whole comment folded into one line.
    """
    lines = [line.strip() for line in source.splitlines()]
    for index, line in enumerate(lines):
        if line.startswith(MARK):
            words = [line.removeprefix(MARK)]
            for following in lines[index + 1 :]:
                if not following.startswith("#") or following.startswith(MARK):
                    break
                words.append(following.lstrip("# "))
            yield index + 1, " ".join(words)


def docstring_parts(source: str) -> Iterator[tuple[int, str]]:
    """Find the parts of docstrings that tell differences.

    Returns:
        Line number from 1, and the whole part folded into one line.
    """
    lines = [line.strip() for line in source.splitlines()]
    for index, line in enumerate(lines):
        mark = next((mark for mark in DOCSTRING_MARKS if line.startswith(mark)), None)
        if mark is None:
            continue
        words = [line.removeprefix(mark)]
        for following in lines[index + 1 :]:
            if not following or following.startswith(('"""', "#")) or PART.match(following):
                break
            words.append(following)
        yield index + 1, " ".join(words)
