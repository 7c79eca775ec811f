"""Two processes that map one file, shared, and what both do at the same time."""

from kernelsim.actors.process.calls.file_write import Write
from kernelsim.actors.process.calls.files import Open
from kernelsim.actors.process.calls.forking import Fork
from kernelsim.actors.process.calls.life import Sigaction
from kernelsim.actors.process.calls.mapping import Mmap
from kernelsim.sim.gather import Gather
from tests.small_machine import PAGE


async def parent_and_child(machine, path, nr_pages):
    """Return two processes that map a new file, its descriptor, and where."""
    handle = await machine.spawn("p")
    parent = machine.kernel.processes[handle.pid]
    await parent.ref.ask(Sigaction())
    fd = await parent.ref.ask(Open(path, create=True))
    await parent.ref.ask(Write(fd, nr_pages * PAGE, 0))
    address = await parent.ref.ask(Mmap(nr_pages * PAGE, fd=fd, shared=True))
    child = parent.children[await parent.ref.ask(Fork())]
    return parent, child, fd, address


async def both(machine, *asks):
    """Have processes do something at the same time; return the answers."""
    answers = Gather(machine.engine.clock)
    for process, message in asks:
        answers.ask(process.ref, message)
    return await answers.wait()
