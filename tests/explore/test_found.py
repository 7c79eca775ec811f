"""Runs in which `kernelsim stress` found something, cut down: what was mended stays so."""

from kernelsim.explore.plan import Plan
from kernelsim.explore.run import run_plan


def test_the_lock_of_a_file_is_free_again_before_its_waiter_has_left_the_cpu():
    """One that was killed lets it go at the nanosecond at which another begins to wait."""
    plan = Plan(
        name="i_rwsem",
        seed=2111486521,
        load_events=187,
        script=(
            "memhog truncate:/x:4K writef:/y:32K:4K &",
            "memhog cpu:3 &",
            "memhog &",
            "memhog cpu:5 truncate:/y:4K &",
            "wait",
        ),
        machine={
            "name": "m",
            "node": [
                {"cpus": "0", "memory": "84K"},
                {"cpus": "1-3", "memory": "1M"},
                {"cpus": "4-7", "memory": "1M"},
            ],
            "device": [{"name": "vda"}],
        },
    )
    assert run_plan(plan).failure is None


def test_what_a_generation_marked_as_active_is_deactivated_when_they_are_switched_off():
    """It was never activated, so the sums of both tell nothing."""
    plan = Plan(
        name="lru_gen",
        seed=587879815,
        load_events=2500,
        script=(
            "memhog sleep:1 poke:/proc/sys/lru_gen/enabled:0 &",
            "memhog mmap:a:556K touchw:a sleep:150 &",
            "wait",
        ),
        machine={
            "name": "m",
            "node": [{"cpus": "0", "memory": "1792K"}],
            "device": [{"name": "vda"}, {"name": "vdd"}],
            "swap": [{"size": "2456K", "device": "vda", "prio": 3}],
            "sysctl": {"lru_gen.enabled": 1},
        },
    )
    assert run_plan(plan).failure is None


def test_pages_freed_lazily_may_be_stored_to_through_tlbs_until_they_are_flushed():
    """MADV_FREE cleans the entries of a whole mapping first: a look in between is no alarm."""
    plan = Plan(
        name="free",
        seed=1778897991,
        check_every=100,
        load_events=2500,
        script=("memhog mmap:a:920K touchw:a mmap:b:4K madvise:a:free &", "wait"),
        machine={"name": "m", "node": [{"cpus": "0", "memory": "4M"}]},
    )
    assert run_plan(plan).failure is None


def test_a_batch_of_the_oldest_is_judged_by_use_when_generations_are_off_by_then():
    """It was isolated before; a look around would forget uses that no generation remembers."""
    plan = Plan(
        name="lru_gen",
        seed=1910432310,
        check_every=100,
        load_events=20_000,
        script=(
            (
                "memhog name:changer2 poke:/proc/sys/vm/numa_stat:0 sleep:9 "
                "poke:/proc/sys/lru_gen/enabled:0 sleep:9 "
                "poke:/proc/sys/vm/dirty_background_ratio:10 "
                "sleep:8 sleep:300 &"
            ),
            "memhog name:prone6 adj:500 mmap:a:632K touchw:a:0:632K:1 touchr:a sleep:1 &",
            "memhog name:prone7 adj:-1000 mmap:a:416K touchw:a:0:416K:2 touchr:a sleep:20 &",
            "memhog name:prone8 adj:500 mmap:a:316K touchw:a:0:316K:2 touchr:a sleep:300 &",
            "memhog name:prone10 cpu:0 adj:-500 mmap:a:316K touchw:a:0:316K:2 touchr:a sleep:20 &",
            (
                "memhog name:storer11 truncate:/x:108K mapfile:s:/x:s randr:s:960:3 msync:s "
                "touchw:s:0:200K:1:68K randw:s:110:27 madvise:s:dontneed mapfile:t:/y:s "
                "touchw:t:0:36K:1:256K mlock:t msync:t sleep:300 &"
            ),
            "wait",
        ),
        machine={
            "name": "drawn",
            "arch": "i386pae",
            "distances": [[10, 21], [21, 10]],
            "node": [
                {"cpus": "0-2", "memory": "1536K"},
                {"cpus": "3-5", "start": "2M", "memory": "2M"},
            ],
            "device": [
                {"name": "vda", "kind": "hdd", "queue_depth": 2, "read_latency": 20_000_000}
            ],
            "swap": [{"size": "2456K", "device": "vda"}],
            "sysctl": {
                "vm.watermark_boost_factor": 50_000,
                "vm.dirty_expire_centisecs": 1,
                "lru_gen.enabled": 3,
            },
        },
    )
    assert run_plan(plan).failure is None


def test_shared_memory_that_is_gone_is_not_written_to_swap():
    """Its pages wait in a batch of pages to activate and on the list; reclaim finds them first."""
    plan = Plan(
        name="shmem",
        seed=1927997555,
        burst_pages=7,
        check_every=100,
        load_events=10_000,
        script=(
            "memhog mallocw:k:68K mallocw:l:12K &",
            "memhog mallocw:j:4K &",
            "memhog mmapshared:a:48K forkcow:a:4K vforkw:a:24K forkcow:a:44K forkcow:a:32K &",
            "wait",
        ),
        machine={
            "name": "drawn",
            "distances": [[10, 40], [40, 10]],
            "node": [
                {"cpus": "0-1", "memory": "532K"},
                {"cpus": "2-2", "start": "1M", "memory": "1024K"},
            ],
            "device": [{"name": "vda", "kind": "nvme", "queue_depth": 8}],
            "swap": [{"size": "3072K", "device": "vda"}],
            "files": [
                {"path": "/p", "size": "3072K", "device": "vda"},
                {"path": "/q", "size": "307K", "device": "vda"},
                {"path": "/r", "size": "3073K", "device": "vda"},
            ],
            "sysctl": {"vm.overcommit_ratio": 100, "vm.numa_stat": 0},
        },
    )
    assert run_plan(plan).failure is None


def test_stores_may_go_on_until_a_page_that_is_protected_is_flushed():
    """Between the entries mprotect changes and the flush of TLBs a look is no alarm."""
    plan = Plan(
        name="mprotect",
        check_every=1,
        burst_pages=1,
        script=(
            "memhog cpu:0 mmap:a:80K touchw:a mprotect:a:1 mprotect:a:3 touchw:a mprotect:a:0 &",
            "memhog cpu:1 mmap:a:150K touchw:a &",
            "wait",
        ),
        machine={"name": "m", "node": [{"cpus": "0-1", "memory": "2M"}]},
    )
    assert run_plan(plan).failure is None


def test_a_shared_page_is_unmapped_where_others_have_moved_it():
    """Tasks of one memory fork and move pages: reclaim finds them in all address spaces."""
    plan = Plan(
        name="moved",
        seed=499347731,
        burst_pages=7,
        check_every=100,
        load_events=5000,
        script=("memhog mmap:a:44K pool:a:756:30 &", "wait"),
        machine={
            "name": "m",
            "node": [{"cpus": "0", "start": "14M", "memory": "1536K"}],
            "device": [{"name": "vda"}, {"name": "vdd"}],
            "swap": [{"size": "4096K", "device": "vda"}],
        },
    )
    assert run_plan(plan).failure is None


def test_children_of_who_ends_are_no_zombies_while_they_are_released():
    """Their objects go before they do, which takes time."""
    plan = Plan(
        name="zombies",
        seed=1119106203,
        schedule_seed=2067775698,
        check_every=200,
        load_events=5000,
        script=(
            "memhog mmap:a:1192K touchw:a &",
            "memhog mmap:a:18432 clonevm:a:8192 vforkw:a:16384 &",
            "memhog mmap:a:268K touchw:a pool:a:810:12 &",
            "wait",
        ),
        machine={
            "name": "m",
            "node": [{"cpus": "0-3", "start": "14M", "memory": "3M"}],
            "device": [{"name": "vda"}, {"name": "vdb"}],
        },
    )
    assert run_plan(plan).failure is None


def test_a_store_does_not_take_the_place_of_a_zero_page_that_came_meanwhile():
    """Another task of the memory has it in its TLB by then: the store faults once more."""
    plan = Plan(
        name="zero",
        seed=1808607841,
        schedule_seed=3,
        check_every=100,
        load_events=5000,
        script=("memhog mmap:a:44K pool:a:288:30 &", "wait"),
        machine={
            "name": "m",
            "node": [{"cpus": "0-3", "memory": "2M"}],
            "device": [{"name": name} for name in ("vda", "vdb", "vdc", "vdd")],
        },
    )
    assert run_plan(plan).failure is None
