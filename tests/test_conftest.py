"""Tests of the shared fixtures."""

import sys
from pathlib import Path

import pytest


def test_require_tool_finds_a_tool(require_tool):
    """A tool that is there is given as its path."""
    assert require_tool("sh", "dash").endswith("/sh")


@pytest.mark.parametrize(("in_ci", "outcome"), [(False, pytest.skip), (True, pytest.fail)])
def test_missing_tool_skips_but_fails_in_ci(require_tool, in_ci, outcome, monkeypatch):
    """A missing tool skips the test with what to install; in CI it fails it."""
    monkeypatch.setitem(require_tool.__globals__, "IN_CI", in_ci)
    with pytest.raises(outcome.Exception, match="apt-get install some-package"):
        require_tool("no-such-tool-anywhere", "some-package")
    assert sys.exc_info() == (None, None, None)


def test_files_with_long_tests_come_first(request):
    """Whichever way the files were read: those of the folders with long tests, then the others."""
    plugin = request.config.pluginmanager.getplugin(str(Path(__file__).with_name("conftest.py")))
    here = Path(__file__).parent
    files = [here / name for name in ("actors/test_a.py", "oracle/test_b.py", "check/test_c.py")]
    expected = [files[2], files[1], files[0]]
    assert expected == sorted(files, key=plugin.order_of)
