"""`kernelsim explain access`: the way of one load and one store, each step with its latency.

A process on the machine reads and writes pages whose translations its CPU's TLB has forgotten,
then one that it still has.
Exit status: 0 done, 2 wrong use or bad input.
"""

from rich.console import Console
from rich.table import Table

from kernelsim.actors.process.calls.access import TouchResult
from kernelsim.cli.options import Whole
from kernelsim.config.machine import MachineSpec
from kernelsim.config.machine_file import load_machine
from kernelsim.errors import ConfigError, OutcomeError
from kernelsim.hw.access_path import LOAD, STORE
from kernelsim.hw.tlb import NR_TLB_SETS, NR_TLB_WAYS
from kernelsim.machine import Machine
from kernelsim.report.compiling import compile_leaves
from kernelsim.units import PAGE_SIZE
from kernelsim.workload.machine import MachineHandle

STRIDE = NR_TLB_SETS * PAGE_SIZE  # between pages whose translations go into one set of the TLB
ACCESSES = (  # what, which page, what it is an example of
    (LOAD, 0, "the TLB has forgotten the page"),
    (STORE, 1, "the TLB has forgotten the page"),
    (LOAD, 0, "the TLB has the page"),
    (STORE, 1, "the TLB has the page, and that it is written"),
)


def access(
    *, machine: str = "uma-2g", cpu: Whole = 0, node: Whole | None = None, seed: Whole = 1
) -> None:
    """Show the way of one load and one store from the CPU to memory and back.

    Args:
        machine: A preset or a TOML file; its [latency] says what each step costs.
        cpu: Where the process runs.
        node: Whose memory it accesses; that of its CPU by default.
        seed: What is random comes from it, such as addresses.
    """
    spec = load_machine(machine)
    check(spec, cpu, node)
    home = next(one.nid for one in spec.nodes if cpu in one.cpus)
    target = home if node is None else node
    done = accesses(spec, cpu, target, seed)
    distance = spec.distances[home][target]
    print(f"{spec.name}: CPU {cpu} of node {home}, memory of node {target}, distance {distance}")
    console = Console(highlight=False, width=100)
    for (kind, _, when), (address, result) in zip(ACCESSES, done, strict=True):
        print(f"\n{kind} at {address:#x}, {result.latency_ns} ns: {when}")
        console.print(table_of(result))


def check(spec: MachineSpec, cpu: int, node: int | None) -> None:
    """Check that the machine has the CPU, and memory on the node.

    Raises:
        ConfigError: It has not.
    """
    if not 0 <= cpu < spec.nr_cpus:
        raise ConfigError("--cpu", cpu, f"must be 0 to {spec.nr_cpus - 1} on {spec.name}")
    if node is None:
        return
    with_memory = [one.nid for one in spec.nodes if one.managed_pages]
    if node not in with_memory:
        names = ", ".join(map(str, with_memory))
        raise ConfigError("--node", node, f"must be a node with memory of {spec.name}: {names}")


def accesses(spec: MachineSpec, cpu: int, nid: int, seed: int) -> list[tuple[int, TouchResult]]:
    """Run the accesses; return the address of each, and what it did.

    Raises:
        ConfigError: The machine is too small for them.
    """
    compile_leaves()

    async def main(handle: MachineHandle) -> list[tuple[int, TouchResult]]:
        process = await handle.spawn("access", cpu=cpu, mempolicy=f"bind:{nid}")
        region = await process.mmap(STRIDE * (NR_TLB_WAYS + 1))
        await process.touch(region, write=True, stride=STRIDE)
        done = []
        for kind, page, _ in ACCESSES:
            address = region.address + page * STRIDE
            done.append((address, await process.access(address, write=kind == STORE)))
        return done

    try:
        done = MachineHandle(Machine(spec, seed=seed)).run_to_end(main)
    except OutcomeError as error:
        raise ConfigError("--machine", spec.name, f"is too small for it: {error}") from None
    assert done is not None, "nothing ends the run before its workload"
    return done


def table_of(result: TouchResult) -> Table:
    """Return the steps of an access, with the time at which each begins."""
    table = Table("from", "takes", "step", "", "physical address", box=None, pad_edge=False)
    at_ns = 0
    for step, what, address, latency_ns in result.steps:
        table.add_row(
            f"{at_ns} ns", f"{latency_ns} ns", step, what, f"{address:#x}" * bool(address)
        )
        at_ns += latency_ns
    for column in table.columns[:2]:
        column.justify = "right"
    return table
