"""What the flusher of a disk does with the works it is given."""

from kernelsim.fs.fs_writeback import WbReason, WbWork
from tests.small_machine import PAGE, run, small_machine


def test_what_somebody_waits_for_leaves_out_files_dirtied_meanwhile():
    """Else one who goes on writing would keep a sync from ending."""

    async def main(machine):
        bdi = machine.kernel.backing_devs["vda"]
        process = await machine.spawn("p")
        fd = await process.open("/f", create=True)
        for number in range(40):  # a request each
            await process.write(fd, PAGE, offset=2 * number * PAGE)
        queued = bdi.queue_work(WbWork(reason=WbReason.WB_REASON_SYNC, is_sync=True))
        await machine.sleep("10ms")
        await process.write(await process.open("/late", create=True), PAGE)
        assert not queued.is_done
        await queued.done.wait()
        files = machine.kernel.files.by_path
        return files["/f"].is_dirty, files["/late"].is_dirty

    slow = {"bandwidth": "4M", "write_latency": "1ms"}
    assert run(small_machine(files={}, memory="32M", disk=slow), main).result == (False, True)
