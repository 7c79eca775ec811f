"""A writer meets the limits of dirty pages.

A program writes 96 MiB to a disk of 20 MB/s on a machine of 256 MiB. First it runs at the speed of
memory. When a tenth of memory is dirty the disk's flusher begins; halfway between that and the
limit the program is made to pause: pauses are short and follow the measured bandwidth of the disk,
so that the program is slowed down to it before it has reached the limit.
"""

from kernelsim.config.machine_file import machine_from_toml
from kernelsim.workload import MachineHandle, workload

MIB = 1 << 20
BLOCK = 64 << 10
PAGES_PER_MIB = 256
BANDWIDTH = 20 * MIB
DISK_MIB_PER_S = 25  # with some tolerance

MACHINE = machine_from_toml(
    {
        "name": "256 MiB and a disk of 20 MB/s",
        "node": [{"memory": "256M", "cpus": "0-1"}],
        "device": [{"name": "sda", "bandwidth": BANDWIDTH}],
    }
)


def dirty_mib(machine: MachineHandle) -> int:
    """Return what is dirty or being written, in MiB."""
    vmstat = machine.vmstat
    return (vmstat["nr_dirty"] + vmstat["nr_writeback"]) // PAGES_PER_MIB


@workload(machine=MACHINE)
async def main(machine: MachineHandle) -> None:
    """Write, and look at each 16 MiB."""
    limit = machine.vmstat["nr_dirty_threshold"] // PAGES_PER_MIB
    background = machine.vmstat["nr_dirty_background_threshold"] // PAGES_PER_MIB
    machine.print(f"background limit {background} MiB, limit {limit} MiB")
    writer = await machine.spawn("writer")
    fd = await writer.open("/big", create=True)
    began_ns, most, worst_ns, speeds = machine.now_ns, 0, 0, []
    for step in range(6):
        step_ns = machine.now_ns
        for _ in range(16 * MIB // BLOCK):
            write_ns = machine.now_ns
            await writer.write(fd, BLOCK)
            worst_ns = max(worst_ns, machine.now_ns - write_ns)
            most = max(most, dirty_mib(machine))
        speeds.append(16 * 10**9 // (machine.now_ns - step_ns))
        machine.print(f"{16 * step + 16:3} MiB: {speeds[-1]:4} MiB/s, {dirty_mib(machine)} dirty")
    machine.note(f"longest write {worst_ns // 10**6} ms, at most {most} MiB dirty")
    machine.expect(most <= limit + 1, "dirty pages stay below the limit")
    machine.expect(speeds[0] > 10 * speeds[-1], "at first it runs at the speed of memory")
    machine.expect(speeds[-1] <= DISK_MIB_PER_S, "in the end it runs at the speed of the disk")
    fsync_ns = machine.now_ns
    await writer.fsync(fd)
    machine.note(f"fsync waited {(machine.now_ns - fsync_ns) // 10**6} ms for the rest")
    machine.expect(dirty_mib(machine) == 0, "after fsync nothing is dirty")
    total_ns = machine.now_ns - began_ns
    machine.expect(total_ns > 90 * MIB * 10**9 // BANDWIDTH, "all of it passed the disk")
