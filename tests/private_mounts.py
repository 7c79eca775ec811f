"""Runs programs in a mount namespace of their own, where the system allows it.

It needs no privileges, but util-linux's `unshare` and a kernel that lets users make namespaces.
Where either is missing the test is skipped and says so; in CI it fails.

Interface: `private_mounts(*command)` gives the words to start; `require_mounts` looks at how it
ended.
"""

import os
import shutil

import pytest

NO_MOUNTS = 125  # exit status of a script whose mounts were refused


def private_mounts(*command: str) -> list[str]:
    """Return the words that run a command as root of a user and a mount namespace of its own."""
    unshare = shutil.which("unshare")
    if unshare is None:
        give_up("needs unshare: apt-get install util-linux")
    return [str(unshare), "--map-root-user", "--mount", *command]


def require_mounts(status: int | None, stderr: str) -> None:
    """Skip the test, or let it fail in CI, when the namespace or a mount in it was refused."""
    if status == NO_MOUNTS or (status and stderr.startswith(("unshare:", "mount:"))):
        give_up(f"no private mounts here: {stderr.strip()}")


def give_up(reason: str) -> None:
    """Skip the test, or let it fail in CI."""
    if "KERNELSIM_CI" in os.environ:
        pytest.fail(reason)
    pytest.skip(reason)
