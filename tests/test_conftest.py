"""Tests of the shared fixtures."""

import sys

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
