"""Fixtures and settings shared by all tests."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import hypothesis
import pytest

# Whose tests are the longest. They come first, so that at the end no process has a long one to do
# while the others have none left.
LONGEST = ("oracle", "workloads", "emergence", "explore", "check")

IN_CI = bool(os.environ.get("KERNELSIM_CI"))

# No deadline: the first example of a test may have to compile. In CI the same examples each time.
hypothesis.settings.register_profile("kernelsim", max_examples=50, deadline=None, print_blob=True)
hypothesis.settings.register_profile(
    "kernelsim-ci", hypothesis.settings.get_profile("kernelsim"), derandomize=True
)
hypothesis.settings.load_profile("kernelsim-ci" if IN_CI else "kernelsim")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a test of random programs draw as many as are wanted."""
    parser.addoption(
        "--programs",
        type=int,
        default=100,
        help="random programs of system calls that tests/property/test_call_programs.py draws",
    )


def is_odd_worker() -> bool:
    """Tell whether this is every other one of the processes that share the tests."""
    return os.environ.get("PYTEST_XDIST_WORKER", "gw0")[-1] in "13579"


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Iterator[None]:
    """Let every other process go through the folders backwards.

    All of them read all tests, and keep what their assertions were rewritten to. So each rewrites
    the half that it comes to first.
    """
    report = yield
    if is_odd_worker() and isinstance(collector, pytest.Session | pytest.Directory):
        report.result.reverse()
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files in one order, whichever way they were read: those with long tests first."""
    items.sort(key=lambda item: order_of(item.path))


def order_of(path: Path) -> tuple[bool, tuple[str, ...]]:
    """Say where a file comes among all files of tests."""
    parts = path.relative_to(Path(__file__).parent).parts
    return parts[0] not in LONGEST, parts


@pytest.fixture(scope="session", autouse=True)
def heard_ctrl_c() -> None:
    """Hear SIGINT as Python does by itself, also where a shell's `&` has it ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def compiled_leaves() -> None:
    """Compile what runs need before the first test, on all processors: tests read stderr."""
    from kernelsim.cli.main import collect_seldom  # noqa: PLC0415 - as below
    from kernelsim.report.compiling import compile_leaves  # noqa: PLC0415 - takes a second

    import_module("kernelsim.report.machine_run")  # brings all leaves in
    compile_leaves()
    collect_seldom()


@pytest.fixture
def require_tool() -> Callable[[str, str], str]:
    """Give a function that finds a system tool: `require_tool("numastat", "numactl")` is its path.

    Without the tool the test is skipped and says which Debian package to install; in CI it fails.
    """

    def find(name: str, package: str) -> str:
        path = shutil.which(name)
        if path is None:
            reason = f"needs {name}: apt-get install {package}"
            if IN_CI:
                pytest.fail(reason)
            pytest.skip(reason)
        return path

    return find
