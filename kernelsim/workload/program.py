"""The program of a process: an async function that its author wrote, run by an actor of its own.

Interface: `Program`, `require_program`, `ProgramActor`.
"""

import inspect
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from kernelsim.errors import ProcessEndedError, WorkloadError
from kernelsim.sim.actor import Actor

if TYPE_CHECKING:
    from kernelsim.workload.handle import ProcessHandle

Program = Callable[["ProcessHandle"], Awaitable[object]]


class ProgramActor(Actor):
    """Runs the program of a process, and ends the process when it returns."""

    def __init__(self, handle: "ProcessHandle", program: Program) -> None:
        super().__init__(f"{handle.name}-{handle.pid}/program")
        self._handle = handle
        self._program = program

    async def run(self) -> None:
        """Run the program; one whose process was killed simply stops."""
        handle = self._handle
        try:
            handle.result = await _begun(self._program, handle)
        except ProcessEndedError as error:
            if error.pid != handle.pid:
                raise
            return
        if handle.exit_status is None:
            await handle.exit(0)


def require_program(program: object) -> None:
    """Raise WorkloadError for what cannot be called with a process."""
    if not callable(program):
        raise WorkloadError(f"a program is an async function of its process, not {program!r}")
    try:
        inspect.signature(program).bind(None)
    except TypeError as error:
        rule = f"a program takes one argument, as in async def program(process): {error}"
        raise WorkloadError(rule) from None
    except ValueError:  # a function of C, which has no signature to look up
        return


def _begun(program: Program, handle: "ProcessHandle") -> Awaitable[object]:
    """Call a program; raise WorkloadError for one that is no async function."""
    begun = program(handle)
    if not inspect.isawaitable(begun):
        raise WorkloadError("a program is an async function: async def program(process)")
    return begun
