"""Fixtures and settings shared by all tests."""

import os
import shutil
import signal
from collections.abc import Callable
from importlib import import_module

import hypothesis
import pytest

IN_CI = bool(os.environ.get("KERNELSIM_CI"))

# No deadline: the first example of a test may have to compile. In CI the same examples each time.
hypothesis.settings.register_profile("kernelsim", max_examples=50, deadline=None, print_blob=True)
hypothesis.settings.register_profile(
    "kernelsim-ci", hypothesis.settings.get_profile("kernelsim"), derandomize=True
)
hypothesis.settings.load_profile("kernelsim-ci" if IN_CI else "kernelsim")


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
