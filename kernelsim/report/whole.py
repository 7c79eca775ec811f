"""Files and trees that appear whole or not at all.

What is written goes to a temporary name beside its own and is renamed when it is complete; if
anything goes wrong, the temporary is removed and what was there before stays. A kill by signal 9
can leave a temporary behind, never a half-written file under its final name.

Interface: `write_whole` for a file, `write_tree` for files in folders, `remove` for both.
"""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from kernelsim.errors import OutputError

TEMPORARY: Final = "{}.partial"  # what a file is called until it is whole
STAGE: Final = TEMPORARY.format("tree")  # folder in which a tree is put together


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let a function write a file at the temporary path it is given, then rename it.

    Args:
        path: The file's own name.
        write: Gets the temporary path. What it raises, other than OSError, is not changed.

    Raises:
        OutputError: The system refused; then there is no such file, or the old one.
    """
    temporary = path.with_name(TEMPORARY.format(path.name))
    try:
        write(temporary)
        temporary.replace(path)
    except OSError as error:
        raise OutputError(path, error.strerror or str(error)) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def write_tree(
    folder: Path,
    files: Iterable[tuple[str, str]],
    *,
    links: Iterable[tuple[str, str]] = (),
    name: str = "",
) -> None:
    """Write text files, in UTF-8, and links into a folder that is there: all of them or none.

    Args:
        folder: Where; nothing of the tree may be in it yet.
        files: Pairs of a path with `/` below the tree, and the whole content.
        links: Pairs of such a path, and where the symbolic link points to.
        name: The tree gets this name below the folder, such as `snapshots/full`; empty puts what
            is on top of the tree into the folder itself.

    Raises:
        OutputError: The system refused; then nothing of the tree is there.
    """
    stage = folder / STAGE
    place = target = folder / name
    made: list[Path] = []  # to be removed if anything fails, the last first
    try:
        remove(stage)
        stage.mkdir()
        for relpath, text in files:
            place = target / checked_name(relpath)
            _write_below(stage / relpath, text)
        for relpath, points_to in links:
            place = target / checked_name(relpath)
            _link_below(stage / relpath, points_to)
        if name:
            if not target.parent.exists():
                made.append(target.parent)
                target.parent.mkdir()
            stage.rename(target)
        else:
            for entry in sorted(stage.iterdir()):
                place = folder / entry.name
                entry.rename(place)
                made.append(place)
            stage.rmdir()
    except BaseException as error:
        for path in (stage, *reversed(made)):
            with contextlib.suppress(OSError):
                remove(path)
        if isinstance(error, OSError):
            raise OutputError(place, error.strerror or str(error)) from error
        raise


def checked_name(relpath: str) -> str:
    """Return a relative path that stays below its folder; anything else is a bug of ours."""
    parts = Path(relpath).parts
    assert parts, "a file has a name"
    assert not relpath.startswith("/"), relpath
    assert ".." not in parts, relpath
    return relpath


def remove(path: Path) -> None:
    """Remove a file, a link or a folder with all that is in it, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def move_all(names: Iterable[str], source: Path, target: Path) -> None:
    """Move what there is of some names from one folder to another of the same file system."""
    for name in names:
        if os.path.lexists(source / name):
            (source / name).rename(target / name)


def _write_below(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())


def _link_below(path: Path, points_to: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(points_to)
