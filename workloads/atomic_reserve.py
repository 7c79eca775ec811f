"""How far down each kind of kernel request may go: the reserve that GFP_ATOMIC has for itself.

A driver asks with GFP_KERNEL: at the min watermark its request waits until reclaim has freed pages.
A network card asks in its interrupts, where nothing may wait: GFP_ATOMIC goes on below min, down to
three eighths of it. Then a request gets nothing, and the packet is dropped.
"""

from kernelsim.config.machine_file import machine_from_toml
from kernelsim.workload import MachineHandle, ProcessHandle, workload

PAGE = 4096
MACHINE = machine_from_toml(
    {
        "name": "small-64m",
        "node": [{"cpus": "0-1", "memory": "64M"}],
        "device": [{"name": "vda", "write_latency": "1ms", "bandwidth": "20M"}],
        "swap": [{"device": "vda", "size": "64M"}],
        "sysctl": {"vm.min_free_kbytes": 4096, "vm.watermark_boost_factor": 0},
    }
)
ZONE = "DMA32"
BURST = 1_500  # packets; more than the reserve has pages
MORE = 32  # pages asked for when the reserve is gone
SLOW_NS = 100_000  # what no allocation takes that does not wait for the disk


def free(machine: MachineHandle) -> int:
    """Return the free pages of the zone."""
    return machine.zone(0, ZONE).free


@workload(machine=MACHINE)
async def main(machine: MachineHandle) -> None:
    """Fill memory with what can be reclaimed, then let both kinds take the rest."""
    marks = machine.zone(0, ZONE)
    driver, card = machine.kernel_thread("driver", cpu=0), machine.net_device("eth0", cpu=1)
    hog: ProcessHandle = await machine.spawn("hog", cpu=0)
    region = await hog.mmap("64M")
    await hog.touch(region, write=True, length=PAGE * (free(machine) - marks.high))

    lowest, taken, waited_ns = marks.managed, 0, 0
    while waited_ns < SLOW_NS:  # GFP_KERNEL: page by page, until one had to wait
        before, began_ns = free(machine), machine.now_ns
        taken += len(await driver.alloc_pages(1, "GFP_KERNEL"))
        waited_ns = machine.now_ns - began_ns
        lowest = min(lowest, before)
    machine.note(
        f"GFP_KERNEL: {taken} pages; at {lowest} free pages one waited {waited_ns} ns, and came"
    )
    machine.expect(lowest <= marks.min < lowest + 64, "GFP_KERNEL waits at the min watermark")

    got = await card.receive(BURST, every="2us")
    at = free(machine)
    machine.note(
        f"GFP_ATOMIC: {got.rx_packets} pages, none waited ({got.alloc_ns_max} ns at most); "
        f"at {at} free pages {got.rx_dropped} packets were dropped"
    )
    floor = marks.min - marks.min // 2
    floor -= floor // 4
    machine.note(f"{ZONE} min {marks.min} pages; three eighths of it {floor}")
    machine.expect(got.rx_dropped > 0, "GFP_ATOMIC fails at once when the reserve is gone")
    machine.expect(got.alloc_ns_max < SLOW_NS, "it never waits")
    machine.expect(floor - 64 <= at <= floor + 64, "down to three eighths of min")
    machine.expect("order:0, mode:0xa20(GFP_ATOMIC)" in machine.dmesg, "and the log says so")

    began_ns = machine.now_ns
    more = await driver.alloc_pages(MORE, "GFP_KERNEL")
    machine.note(f"GFP_KERNEL: {MORE} pages more, in {(machine.now_ns - began_ns) // 1000} us")
    machine.expect(len(more) == MORE, "GFP_KERNEL waits, and gets what it asked for")
    await card.consume()
    await driver.free_pages(more)
