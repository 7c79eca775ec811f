"""Tests of what an author passes to a machine and a handle: nonsense is refused in one line."""

import pytest

from kernelsim.errors import ConfigError, WorkloadError
from kernelsim.units import PAGE_SIZE
from kernelsim.workload.syscall import MappedRange
from tests.small_machine import run, small_machine

SPAWNS = {
    "number": (5, {}, "name = 5"),
    "empty": ("", {}, "name = ''"),
    "two lines": ("a\nb", {}, "name = "),
    "score": ("p", {"oom_score_adj": 1001}, "oom_score_adj = 1001: .* from -1000 to 1000"),
    "score text": ("p", {"oom_score_adj": "x"}, "oom_score_adj = 'x'"),
    "cpu text": ("p", {"cpu": "0"}, "cpu = '0': the machine has CPUs 0 to 0"),
    "policy": ("p", {"mempolicy": 3}, "mempolicy = 3"),
}
CALLS = {
    "passes below 0": (lambda p, r: p.touch(r, passes=-1), "passes = -1"),
    "half a pass": (lambda p, r: p.touch(r, passes=1.5), "passes = 1.5"),
    "far outside": (lambda p, r: p.touch(r, offset="100M"), "offset '100M', .* 8192 bytes"),
    "at the end": (lambda p, r: p.touch(r, offset=8192), "offset 8192"),
    "address text": (lambda p, _: p.mmap("1M", address="0x1000"), "address = '0x1000'"),
    "address below 0": (lambda p, _: p.mmap("1M", address=-4096), "address = -4096"),
    "length": (lambda p, r: p.touch(r, length="x"), "length = 'x': a size"),
    "offset below 0": (lambda p, r: p.touch(r, offset=-4096), "offset = -4096: a size"),
    "stride": (lambda p, r: p.touch(r, stride=1.5), "stride = 1.5: a size"),
    "stride of 0": (lambda p, r: p.touch(r, stride=0), "a stride of at least 1 byte, not 0"),
    "range text": (lambda p, _: p.munmap(MappedRange("a", 1)), "address of munmap = 'a'"),
    "half a range": (lambda p, r: p.syscall("mlock", MappedRange(r.address, 1.5)), "length of mlo"),
    "range below 0": (lambda p, _: p.touch(MappedRange(-4096, 1)), "address of touch = -4096"),
    "range outside": (lambda p, _: p.munmap(MappedRange(1 << 64, 1)), "from 0 to 1844674407370955"),
    "mmap": (lambda p, _: p.mmap("0.1K"), "length = '0.1K': a size"),
    "brk": (lambda p, _: p.brk("-1.5"), "increment = '-1.5': a size"),
    "brk flag": (lambda p, _: p.brk(True), "increment = True: a size"),
    "sleep": (lambda p, _: p.sleep("1 fortnight"), "duration = '1 fortnight': a duration"),
    "sleep below 0": (lambda p, _: p.sleep(-1), "duration = -1: a duration"),
    "status": (lambda p, _: p.exit("bad"), "status = 'bad': .* from 0 to 255"),
    "lengths": (lambda p, _: p.touch_pages([1, 2], [1]), "writes = '1 of them'"),
    "half a page": (lambda p, _: p.touch_pages([1.5], [1]), "vpns = "),
    "text": (lambda p, _: p.touch_pages("ab", [1]), "vpns = 'ab'"),
    "page outside": (lambda p, _: p.touch_pages([1 << 52], [1]), "vpns = .* page numbers, from 0"),
    "page below 0": (lambda p, _: p.touch_pages([1, -1], [1, 0]), "vpns = "),
    "large float": (lambda p, _: p.touch_pages([1e300], [1]), "vpns = "),
    "address outside": (lambda p, _: p.access(1 << 64), "address = 1844674407370955"),
    "table": (lambda p, _: p.touch_pages([[1]], [[1]]), "list of whole numbers"),
}


@pytest.mark.parametrize(("name", "options", "told"), SPAWNS.values(), ids=SPAWNS)
def test_a_process_that_cannot_be_is_not_started(name, options, told):
    """A name, score, CPU or policy that means nothing is refused before a process exists."""

    async def main(machine):
        with pytest.raises(ConfigError, match=told):
            await machine.spawn(name, **options)
        return len(machine.kernel.processes)

    assert run(small_machine(), main).result == 0


@pytest.mark.parametrize(("call", "told"), CALLS.values(), ids=CALLS)
def test_a_call_that_means_nothing_is_refused(call, told):
    """It reaches no actor: the process lives, has touched nothing and can go on."""

    async def main(machine):
        process = await machine.spawn("p")
        region = await process.mmap(2 * PAGE_SIZE)
        with pytest.raises((ConfigError, WorkloadError), match=told):
            await call(process, region)
        assert (process.exit_status, process.stats.pgfault) == (None, 0)
        return (await process.touch(region, write=True)).minflt

    assert run(small_machine(), main).result == 2


def test_addresses_come_round_as_a_program_adds_them():
    """An offset behind the last address is one from the first on: SIGSEGV, and no bug of ours."""

    async def main(machine):
        process = await machine.spawn("p")
        region = await process.mmap(PAGE_SIZE)
        return (await process.touch(region, offset=(1 << 64) - region.address, length=1)).signal

    assert run(small_machine(), main).result == 11


def test_a_length_beyond_the_mapping_is_the_programs_own_risk():
    """An author who says a length means it: the program runs into the hole and gets SIGSEGV."""

    async def main(machine):
        process = await machine.spawn("p")
        region = await process.mmap(2 * PAGE_SIZE)
        return (await process.touch(region, offset=2 * PAGE_SIZE, length=1)).signal

    assert run(small_machine(), main).result == 11


def test_a_program_is_async():
    """A plain function as a program is the author's mistake, told as such."""

    async def main(machine):
        process = await machine.spawn("p", lambda _process: None)
        await process.wait()

    with pytest.raises(WorkloadError, match="a program is an async function"):
        run(small_machine(), main)


def test_a_tunable_has_a_name():
    """A number is no name of a tunable."""

    async def main(machine):
        with pytest.raises(ConfigError, match="sysctl = 5"):
            machine.sysctl(5)

    run(small_machine(), main)
