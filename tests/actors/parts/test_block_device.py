"""Tests of the disk: queue depth, bandwidth, and submitters that wait for room."""

from errno import EIO

import attrs
import msgspec
import pytest

from kernelsim.actors.messages.block_device import EndIo, SubmitBio
from kernelsim.actors.parts.block_device import NR_REQUESTS, BlockDevice
from kernelsim.block.blk_wbt import WBT_RWQ_BG, WritebackThrottle
from kernelsim.config.disks import BlockDeviceSpec
from kernelsim.config.latency import LatencySpec
from kernelsim.config.machine_form import DEVICE_KINDS
from kernelsim.sim.actor import Actor
from kernelsim.sim.engine import Engine
from kernelsim.units import PAGE_SIZE

pytestmark = [pytest.mark.mission("A8")]

READ_NS, WRITE_NS, PAGE_NS = 1000, 400, 50  # latency of each kind, time of a page in the pipe


def disk_of(depth):
    """Describe a disk on which a page takes PAGE_NS to transfer."""
    return BlockDeviceSpec(
        name="vda",
        queue_depth=depth,
        read_latency_ns=READ_NS,
        write_latency_ns=WRITE_NS,
        bandwidth_bytes_per_s=PAGE_SIZE * 10**9 // PAGE_NS,
    )


class InterruptedCpu:
    """Notes when its handlers end, as `Cpu.interrupt` has it."""

    def __init__(self, engine):
        self.engine = engine
        self.end_ns = 0

    def interrupt(self, ns):
        """Run a handler behind the others."""
        self.end_ns = max(self.engine.now_ns, self.end_ns) + ns
        return self.end_ns


def device(engine, spec, end_io_ns=0):
    """Make a disk on a machine of one CPU."""
    latency = LatencySpec(end_io_ns=end_io_ns)
    return BlockDevice(spec, 8 << 20, [InterruptedCpu(engine)], latency)


def on_disk(depth, scenario):
    """Run `scenario(engine, disk)`."""
    engine = Engine()

    async def main(engine):
        disk = device(engine, disk_of(depth))
        engine.spawn(disk)
        await scenario(engine, disk)

    engine.run(main)


class Listener(Actor):
    """Notes what it is told, and when."""

    def __init__(self):
        super().__init__("listener")
        self.told = []

    def receive(self, message):
        """Note it."""
        self.told.append((message, self.engine.now_ns))


def bio(receiver=None, *, is_write=False, sector=0, nr_pages=1, wait=False):
    """Make a request whose completion is told to `receiver`."""
    end_io = None if receiver is None else EndIo()
    return SubmitBio(is_write, sector, nr_pages, "test", 0, end_io, receiver, wait=wait)


def completions(depth, requests):
    """Submit requests at time 0; return when each was complete."""
    listener = Listener()

    async def scenario(engine, disk):
        receiver = engine.spawn(listener)
        for options in requests:
            await disk.ref.ask(bio(receiver, **options))
            assert engine.now_ns == 0  # acceptance takes no time
        await engine.sleep(10**6)
        assert disk.nr_in_flight == 0

    on_disk(depth, scenario)
    assert {message.status for message, _ in listener.told} == {0}
    return [ns for _, ns in listener.told]


def test_one_request_takes_its_latency_and_its_transfer():
    """Reads and writes each have their own latency."""
    assert completions(1, [{"nr_pages": 8}]) == [READ_NS + 8 * PAGE_NS]
    assert completions(1, [{"is_write": True}]) == [WRITE_NS + PAGE_NS]


def test_with_a_queue_of_one_requests_follow_each_other():
    """Latency is paid again for each."""
    each = READ_NS + PAGE_NS
    assert completions(1, [{}] * 3) == [each, 2 * each, 3 * each]


def test_with_a_deep_queue_latencies_overlap_and_data_does_not():
    """All wait for the medium at once; then the pipe passes one after the other."""
    assert completions(8, [{}] * 4) == [READ_NS + n * PAGE_NS for n in (1, 2, 3, 4)]


def test_the_fifth_request_waits_for_the_first_of_four_slots():
    """Its latency begins when a slot is free."""
    fifth = completions(4, [{}] * 5)[4]
    assert fifth == (READ_NS + PAGE_NS) + READ_NS + PAGE_NS


def test_a_disk_that_is_done_interrupts_the_cpu_that_sent_the_request():
    """Handlers follow each other on one CPU; the disk goes on meanwhile."""
    listener, irq_ns = Listener(), 700
    engine = Engine()

    async def main(engine):
        disk = device(engine, disk_of(2), irq_ns)
        engine.spawn(disk)
        receiver = engine.spawn(listener)
        for _ in range(3):
            await disk.ref.ask(bio(receiver))
        await engine.sleep(10**6)

    engine.run(main)
    first = READ_NS + PAGE_NS
    third = first + first  # at the device from when the first was through
    assert [ns for _, ns in listener.told] == [
        first + irq_ns,
        first + 2 * irq_ns,
        max(third, first + 2 * irq_ns) + irq_ns,
    ]


@pytest.mark.parametrize("nr_pages", [1, 32])
def test_many_large_requests_take_what_the_bandwidth_allows(nr_pages):
    """The pipe is busy from the first latency on."""
    last = completions(64, [{"nr_pages": nr_pages}] * 100)[-1]
    pipe_ns = 100 * nr_pages * PAGE_NS
    assert pipe_ns + READ_NS <= last <= pipe_ns + 2 * READ_NS


def test_a_full_queue_makes_submitters_wait_for_room():
    """Request number NR_REQUESTS + 1 is accepted when the first is complete."""
    accepted = []

    async def scenario(engine, disk):
        for _ in range(NR_REQUESTS + 2):
            await disk.ref.ask(bio(is_write=True))
            accepted.append(engine.now_ns)
        assert disk.statistics.in_flight_max == NR_REQUESTS

    on_disk(1, scenario)
    each = WRITE_NS + PAGE_NS
    assert accepted == [0] * NR_REQUESTS + [each, 2 * each]


def test_a_submitter_that_asks_to_wait_is_answered_at_completion():
    """Also when it had to wait for room first."""
    answered = []

    async def scenario(engine, disk):
        await disk.ref.ask(bio(wait=True))
        answered.append(engine.now_ns)
        for _ in range(NR_REQUESTS):
            await disk.ref.ask(bio())
        await disk.ref.ask(bio(wait=True))
        answered.append(engine.now_ns)

    on_disk(1, scenario)
    each = READ_NS + PAGE_NS
    assert answered == [each, (NR_REQUESTS + 2) * each]


def test_statistics_count_what_is_complete():
    """Requests and pages by direction, and how long the pipe was busy."""

    async def scenario(engine, disk):
        await disk.ref.ask(bio(is_write=True, nr_pages=4))
        await disk.ref.ask(bio(nr_pages=2))
        await disk.ref.ask(bio(nr_pages=1))
        statistics = disk.statistics
        assert (statistics.nr_reads, statistics.nr_writes) == (0, 0)
        await engine.sleep(10**6)
        assert (statistics.nr_reads, statistics.pages_read) == (2, 3)
        assert (statistics.nr_writes, statistics.pages_written) == (1, 4)
        assert statistics.busy_ns == 7 * PAGE_NS

    on_disk(4, scenario)


def test_a_request_that_meets_bad_sectors_completes_with_eio():
    """In that direction only; the time is the same, and a mended sector works again."""
    listener, answers = Listener(), []

    async def scenario(engine, disk):
        receiver = engine.spawn(listener)
        disk.faults.fail(7, 9, is_write=False)
        for options in ({"sector": 0}, {"sector": 8}, {"sector": 16}, {"is_write": True}):
            await disk.ref.ask(bio(receiver, **options))
        await engine.sleep(10**6)
        answers.append(await disk.ref.ask(bio(sector=8, wait=True)))
        disk.faults.mend()
        answers.append(await disk.ref.ask(bio(sector=8, wait=True)))

    on_disk(1, scenario)
    read, write = READ_NS + PAGE_NS, WRITE_NS + PAGE_NS
    told = [(message.status, ns) for message, ns in listener.told]
    assert told == [(EIO, read), (EIO, 2 * read), (0, 3 * read), (0, 3 * read + write)]
    assert answers == [EIO, 0]


def test_a_stalled_disk_completes_nothing_and_then_all():
    """What was under way when it stalled comes late too, each once."""
    listener = Listener()

    async def scenario(engine, disk):
        receiver = engine.spawn(listener)
        await disk.ref.ask(bio(receiver))
        disk.faults.stall(50 * READ_NS)
        await disk.ref.ask(bio(receiver))
        await engine.sleep(100 * READ_NS)
        await disk.ref.ask(bio(receiver, wait=True))

    on_disk(4, scenario)
    assert [ns for _, ns in listener.told] == [50 * READ_NS] * 2 + [101 * READ_NS + PAGE_NS]


def test_a_congested_disk_wakes_those_who_wait_when_it_has_done_some():
    """It is congested from 113 requests on; who waits goes on when fewer than 103 are left."""

    async def scenario(engine, disk):
        receiver = engine.spawn(Listener())
        await engine.sleep(0)  # the disk begins
        for number in range(113):
            assert disk.is_congested is False
            await disk.ref.ask(bio(receiver, sector=8 * number))
        assert disk.is_congested
        await disk.uncongested.wait()
        assert disk.nr_in_flight == 102

    on_disk(1, scenario)


def test_a_run_that_ends_with_writes_under_way_judges_the_depth_no_more(monkeypatch):
    """What the disk did not finish would keep the windows coming for ever."""
    judged, judge = [], WritebackThrottle.end_window

    def noted(throttle, now_ns, window_ns, *, is_busy):
        judged.append(is_busy)
        assert len(judged) < 5, "for ever"
        return judge(throttle, now_ns, window_ns, is_busy=is_busy)

    monkeypatch.setattr(WritebackThrottle, "end_window", noted)

    async def scenario(engine, disk):
        receiver = engine.spawn(Listener())
        await engine.sleep(0)  # the disk begins
        for _ in range(3):
            disk.throttle.try_begin(WBT_RWQ_BG, engine.now_ns)
            write = bio(receiver, is_write=True, nr_pages=10**9 // PAGE_NS)  # a second long
            await disk.ref.ask(msgspec.structs.replace(write, throttled=WBT_RWQ_BG))

    on_disk(1, scenario)
    assert judged == [True]


def test_a_hard_disk_goes_up_the_sectors_and_need_not_move_to_go_on():
    """The nearest above is next, not the first that came; the sector behind costs no turn."""
    spec = attrs.evolve(
        DEVICE_KINDS["hdd-7200"], name="sda", read_latency_ns=0, scheduler="mq-deadline"
    )
    listener = Listener()
    engine = Engine()
    far, near, behind = 10**9, 10**6, 10**6 + 8

    async def main(engine):
        disk = device(engine, spec)
        engine.spawn(disk)
        receiver = engine.spawn(listener)
        await disk.ref.ask(bio(receiver, sector=0))
        for sector in (far, near):
            await disk.ref.ask(bio(receiver, sector=sector))
        await disk.ref.ask(bio(receiver, sector=behind, wait=True))
        await engine.sleep(10**9)
        return disk.statistics

    statistics = engine.run(main)
    page_ns = PAGE_SIZE * 10**9 // spec.bandwidth_bytes_per_s
    first, second, third, fourth = (ns for _, ns in listener.told)
    assert first == page_ns
    assert spec.track_to_track_ns < second - first < 10**7
    assert third - second in (0, page_ns)  # merged, or read on
    assert fourth - third > 5_000_000
    assert statistics.nr_reads + statistics.nr_read_merges == 4


@pytest.mark.parametrize(
    ("kind", "is_write", "rate"),
    [
        ("sata-ssd", False, 13_000),
        ("sata-ssd", True, 36_000),
        ("nvme-ssd", False, 19_000),
        ("nvme-ssd", True, 60_000),
    ],
)
def test_one_request_at_a_time_has_the_rate_of_the_data_sheet(kind, is_write, rate):
    """Random pages, each asked for when the last has come."""
    engine = Engine()

    async def main(engine):
        disk = device(engine, attrs.evolve(DEVICE_KINDS[kind], name="sda"))
        engine.spawn(disk)
        for number in range(100):
            await disk.ref.ask(bio(is_write=is_write, sector=800 * number, wait=True))
        return engine.now_ns

    assert abs(100 * 10**9 / engine.run(main) - rate) < rate / 50


@pytest.mark.parametrize(
    ("kind", "depth", "rate"), [("sata-ssd", 32, 98_000), ("nvme-ssd", 128, 600_000)]
)
def test_many_requests_at_a_time_have_the_rate_of_the_data_sheet(kind, depth, rate):
    """As many random reads under way as the sheet has it."""
    engine = Engine()

    async def main(engine):
        disk = device(engine, attrs.evolve(DEVICE_KINDS[kind], name="sda", queue_depth=depth))
        engine.spawn(disk)
        for number in range(4000):
            while disk.nr_in_flight >= depth:
                await engine.sleep(500)
            await disk.ref.ask(bio(sector=800 * number))
        return engine.now_ns

    assert abs(4000 * 10**9 / engine.run(main) - rate) < rate / 20


def test_latencies_vary_where_the_description_gives_a_spread():
    """By the seed alone: the same twice, other ones with another; on the average they are the mean.

    Their standard deviation is as given.
    """
    nr, spread = 400, 500

    def took(seed):
        engine = Engine(seed=seed)

        async def main(engine):
            spec = attrs.evolve(disk_of(1), latency_spread_permille=spread)
            disk = device(engine, spec)
            engine.spawn(disk)
            times = []
            for _ in range(nr):
                began_ns = engine.now_ns
                await disk.ref.ask(bio(wait=True))
                times.append(engine.now_ns - began_ns - PAGE_NS)
            return times

        return engine.run(main)

    first = took(1)
    assert took(1) == first != took(2)
    mean_ns = disk_of(1).read_latency_ns
    assert sum(first) / nr == pytest.approx(mean_ns, rel=0.1)
    variance = sum((ns - mean_ns) ** 2 for ns in first) / nr
    assert variance**0.5 == pytest.approx(mean_ns * spread / 1000, rel=0.2)
