"""Tests of running programs with mounts of their own."""

import pytest

from tests.private_mounts import NO_MOUNTS, private_mounts, require_mounts


@pytest.mark.parametrize(("in_ci", "outcome"), [(False, pytest.skip), (True, pytest.fail)])
def test_without_unshare_a_test_is_skipped_but_fails_in_ci(in_ci, outcome, monkeypatch, tmp_path):
    """It says which package to install, rather than end in FileNotFoundError."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("KERNELSIM_CI", raising=False)
    if in_ci:
        monkeypatch.setenv("KERNELSIM_CI", "1")
    with pytest.raises(outcome.Exception, match="apt-get install util-linux"):
        private_mounts("true")


@pytest.mark.parametrize(
    ("status", "stderr"),
    [
        (1, "unshare: unshare failed: Operation not permitted\n"),
        (32, "mount: /proc: permission denied.\n"),
        (NO_MOUNTS, ""),
    ],
)
def test_refused_mounts_skip_a_test(status, stderr, monkeypatch):
    """It says what the system said; a command that ran is judged by the test itself."""
    monkeypatch.delenv("KERNELSIM_CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no private mounts here"):
        require_mounts(status, stderr)
    require_mounts(0, stderr)
    require_mounts(1, "smem: no such file\n")
