"""What the kernel log says of a request that gets nothing.

Linux: mm/page_alloc.c: warn_alloc, warn_alloc_show_mem, 6.1.
"""

from kernelsim.actors.alloc.mem_info import mem_info
from kernelsim.actors.core.current import Current
from kernelsim.actors.core.kernel import KERN_WARNING
from kernelsim.config.number_list import format_number_list
from kernelsim.mm.page.alloc_context import AllocContext
from kernelsim.mm.page.gfp import Gfp
from kernelsim.mm.reclaim.oom_kill import stack_lines
from kernelsim.trace.show import show_gfp_flags


def warn_alloc(current: Current, context: AllocContext, order: int = 0) -> None:
    """Print a warning with the state of memory, unless one was printed in the last 10 s.

    Source: Linux 6.1 mm/page_alloc.c:warn_alloc
    """
    kernel, task = current
    if Gfp.NOWARN in context.gfp:
        return
    allowed, suppressed = kernel.alloc_messages.allows(kernel.engine.now_ns)
    if suppressed:
        kernel.printk(KERN_WARNING, f"warn_alloc: {suppressed} callbacks suppressed")
    if not allowed:
        return
    cpu, spec = task.cpu, kernel.spec
    comm, pid = running(task.cpu.state.current, cpu.number)
    nodemask = "(null)" if context.nodemask is None else format_number_list(context.nodemask)
    nodes = format_number_list(kernel.phys.nodes_with_memory)
    kernel.printk(
        KERN_WARNING,
        f"{comm}: page allocation failure: order:{order}, mode:{int(context.gfp):#x}"
        f"({show_gfp_flags(context.gfp)}), nodemask={nodemask},cpuset=/,mems_allowed={nodes}",
        *stack_lines(comm, pid, cpu=cpu.number, release=spec.era.release, machine=spec.name),
        *mem_info(kernel, cpu.number, context.gfp),
    )


def running(name: str | None, cpu: int) -> tuple[str, int]:
    """Return comm and pid of the task that runs on a CPU, by its name; the idle task's for None.

    An interrupt is blamed on the task it interrupts, as the kernel does.
    """
    # Differs from Linux: A warning of a kernel thread without a number in its name says PID 0.
    if name is None:
        return f"swapper/{cpu}", 0
    comm, _, pid = name.rpartition("-")
    return (comm, int(pid)) if comm and pid.isdigit() else (name, 0)
