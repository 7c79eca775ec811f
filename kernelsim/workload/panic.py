"""What a workload hears of a panic of the simulated kernel.

After a panic no virtual time passes any more. The call of `main` that it cuts short raises
`KernelPanicError`, once: `main` may catch it and state what it expects of the machine as it stands.
Whatever it awaits after that ends it.

Interface: `until_panic`, around every wait of a workload. `PANIC` is the state of such a run's end.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import trio

from kernelsim.actors.core.kernel import PANIC, Kernel
from kernelsim.errors import KernelPanicError
from kernelsim.sim.reports import MAIN


@contextmanager
def until_panic(kernel: Kernel) -> Iterator[None]:
    """Raise KernelPanicError for what a panic cuts short inside the block."""
    try:
        yield
    except trio.Cancelled:
        engine = kernel.engine
        ended = engine.ended
        is_told = kernel.is_panic_told or engine.running_name != MAIN
        if ended is None or ended.state != PANIC or is_told:
            raise
        kernel.is_panic_told = True
        raise KernelPanicError(ended.detail) from None
