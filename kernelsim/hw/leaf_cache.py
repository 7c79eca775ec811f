"""Where compiled leaves are kept, and under which name.

numba itself names what it keeps by the place of the source file and looks only at that file when
it asks whether the result is still good. But a leaf has the leaves it calls and the constants it
reads compiled in, and is the same in every checkout. So here the folder's name is a digest of the
function's module and of every module of ours that it imports, and nothing else: a second checkout
or a touched file compiles nothing, and an edit compiles what it can have changed.

What cannot be read or written here (a full disk, a file cut short) is as good as not kept: the
leaf is compiled, and works.

Interface: `LeafCache`, numba's cache for one leaf. `NUMBA_CACHE_DIR` names another folder.
"""

import hashlib
import os
import pickle
import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Final

import numba
from numba.core import caching
from numba.core.registry import cpu_target

import kernelsim
from kernelsim import __version__

PACKAGE: Final = "kernelsim"
PACKAGE_FOLDER: Final = Path(kernelsim.__file__).parent
STAMP: Final = ".complete"  # ends the names of files that say what the cache holds, see compile.py
KEEP_S: Final = 7 * 24 * 3600  # a cache folder not used for so long is removed
IMPORT: Final = re.compile(
    rb"^[ \t]*(?:from[ \t]+(kernelsim[\w.]*)[ \t]+import[ \t]*(\([^)]*\)|.*)"
    rb"|import[ \t]+(.*kernelsim.*))$",
    re.MULTILINE,
)
UNREADABLE: Final = (  # what reading a broken file may raise
    OSError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ImportError,
    pickle.UnpicklingError,
)
NAME: Final = re.compile(rb"[\w.]+")


class LeafLocator(caching._CacheLocator):  # type: ignore[misc]  # noqa: SLF001 - numba's base for locators
    """Tells numba the folder of a leaf; the name of the folder stands for all of its source."""

    def __init__(self, function: Callable[..., object]) -> None:
        self.function = function

    def get_cache_path(self) -> str:
        """Return the folder of the function's module as its source is now."""
        return str(cache_folder(self.function.__module__, self.function.__code__.co_filename))

    def get_source_stamp(self) -> str:
        """Return the same always: other source lies in another folder."""
        return PACKAGE

    def get_disambiguator(self) -> str:
        """Tell functions of one name in one module apart."""
        return str(self.function.__code__.co_firstlineno)

    @classmethod
    def from_function(cls, py_func: Callable[..., object], _py_file: str) -> "LeafLocator":
        """Return the locator of a function."""
        return cls(py_func)


class LeafCacheImpl(caching.CompileResultCacheImpl):  # type: ignore[misc]  # numba ships no types
    """What numba keeps of a compiled function, in our folders."""

    _locator_classes = (LeafLocator,)


class LeafCache(caching.FunctionCache):  # type: ignore[misc]  # numba ships no types
    """The compiled forms of one leaf on disk."""

    _impl_class = LeafCacheImpl

    def load_overload(self, sig: Any, target_context: Any) -> Any:  # noqa: ANN401 - see numba
        """Return what was kept for a signature; None if nothing, or nothing that can be read."""
        try:
            return super().load_overload(sig, target_context)
        except UNREADABLE:
            with suppress(OSError):
                self.flush()  # else nothing more could be kept beside what is broken
            return None

    def save_overload(self, sig: Any, data: Any) -> None:  # noqa: ANN401 - see numba
        """Keep what was compiled, if the disk lets us."""
        with suppress(OSError):
            super().save_overload(sig, data)

    def holds(self, sig: Any) -> bool:  # noqa: ANN401 - see numba
        """Tell whether something is kept for a signature and this computer's processor."""
        key = self._index_key(sig, cpu_target.target_context.codegen())
        with suppress(*UNREADABLE):
            return key in self._cache_file._load_index()  # noqa: SLF001 - numba's file of the names
        return False


@cache
def cache_root() -> Path:
    """Find a folder we may write to: asked for, else the user's cache, else a temporary one."""
    asked = os.environ.get("NUMBA_CACHE_DIR")
    if asked:
        return Path(asked)
    name = f"{__version__}-py{sys.version_info.major}.{sys.version_info.minor}"
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111 - never raises
    wanted = Path(home) / PACKAGE / name
    if is_writable(wanted):
        return wanted
    return Path(tempfile.gettempdir()) / f"{PACKAGE}-{os.getuid()}" / name


def is_writable(folder: Path) -> bool:
    """Tell whether files can be made in a folder, making the folder if need be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


@cache
def cache_folder(module: str, file: str) -> Path:
    """Make the folder for the leaves of a module as its source is now, and drop old folders.

    Args:
        module: The module's name.
        file: Its file; it counts too, for modules that are none of ours.
    """
    digest = hashlib.sha256(b"boundscheck" if numba.config.BOUNDSCHECK else b"")
    with suppress(OSError):
        digest.update(Path(file).read_bytes())
    for name in sorted(imported(module)):
        digest.update(source_of(name))
    root = cache_root()
    folder = root / digest.hexdigest()[:16]
    with suppress(OSError):
        if folder.is_dir():
            os.utime(folder)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            for stamp in root.glob(f"*{STAMP}"):
                stamp.unlink(missing_ok=True)
            remove_older(root, folder.stat().st_mtime - KEEP_S)
    return folder


def remove_older(root: Path, before: float) -> None:
    """Remove the folders in the cache that were not used since a time."""
    for other in sorted(root.iterdir()):
        if other.is_dir() and other.stat().st_mtime < before:
            shutil.rmtree(other, ignore_errors=True)


def imported(module: str) -> frozenset[str]:
    """Name a module and all modules of ours that it imports, directly or not."""
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(imports_of(name))
    return frozenset(found)


@cache
def imports_of(module: str) -> tuple[str, ...]:
    """Name the modules of ours that one imports itself; most are asked for by many leaves."""
    return tuple(direct_imports(source_of(module)))


def direct_imports(source: bytes) -> list[str]:
    """Name the modules of ours that a source imports, at its top level or below.

    It looks for lines that read like an import, which is far faster than to parse them all. A
    line of a text that reads like one does no harm.
    """
    names: list[str] = []
    for module, members, modules in IMPORT.findall(source):
        if module:
            names.append(module.decode())
            names.extend(f"{module.decode()}.{name.decode()}" for name in NAME.findall(members))
        names.extend(name.decode() for name in NAME.findall(modules))
    return [name for name in names if name.startswith(f"{PACKAGE}.") and file_of(name) is not None]


@cache
def file_of(module: str) -> Path | None:
    """Find the file of a module of ours; None for a name that is something inside a module."""
    parts = module.split(".")
    if parts[0] != PACKAGE:
        return None
    place = PACKAGE_FOLDER.joinpath(*parts[1:])
    for file in (place.with_suffix(".py"), place / "__init__.py"):
        if file.is_file():
            return file
    return None


@cache
def source_of(module: str) -> bytes:
    """Read the source of a module of ours; empty for any other."""
    file = file_of(module)
    return b"" if file is None else file.read_bytes()
