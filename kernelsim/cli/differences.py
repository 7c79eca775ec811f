"""`kernelsim differences`: list the comments that mark where we knowingly differ from Linux.

Interface: a difference is a comment that begins a line with `# Differs from Linux: `; comment
lines right below belong to it.
"""

from collections.abc import Iterator
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Final

MARK: Final = "# Differs from Linux: "


def differences() -> None:
    """List where the simulator knowingly differs from Linux, one line each with its place."""
    package = resources.files("kernelsim")
    for name, file in sorted_sources(package, "kernelsim"):
        for line, text in marked_comments(file.read_text(encoding="utf-8")):
            print(f"{name}:{line}: {text}")


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
