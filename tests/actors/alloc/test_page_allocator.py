"""Which zones a request tries."""

from kernelsim.mm.core.vmstat import NR_DIRTY, NR_WRITEBACK
from tests.small_machine import PAGE, run, small_machine

SLOW = {"bandwidth": "4M", "write_latency": "1ms"}


def test_a_write_goes_to_another_node_when_much_of_its_own_is_dirty():
    """Two nodes of 32 MB: what is dirty spreads though both have free pages, and that is a rule."""

    async def main(machine):
        process = await machine.spawn("writer")
        fd = await process.open("/f", create=True)
        await process.write(fd, 2000 * PAGE)
        stat = machine.mem.node_stat
        return (stat[:, NR_DIRTY] + stat[:, NR_WRITEBACK] > 0).tolist()

    spec = small_machine(cpus=("0", "1"), memory="32M", files={}, disk=SLOW)
    assert run(spec, main).result == [True, True]
