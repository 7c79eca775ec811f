"""Whose time kernel code takes: the task that runs, and the machine it runs on.

Linux: `current`, which every function finds by itself; here it is handed on.
"""

from typing import NamedTuple

from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.core.task import Task


class Current(NamedTuple):
    """The task that runs kernel code, on a CPU; it may sleep in what it is handed to."""

    kernel: Kernel
    task: Task
