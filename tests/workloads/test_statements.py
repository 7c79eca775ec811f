"""What workloads state can fail: each with one thing changed on which a statement of it rests."""

from pathlib import Path

import pytest

from kernelsim.cli import main as cli

FOLDER = Path(__file__).parents[2] / "workloads"
CHANGES = [  # workload, what is changed to what, what the run then says
    ("address_space_tour", "(0x8000_0000_0000, TRAP)", "(0x8000_0000_0000, SEGFAULT)", "is #GP"),
    ("atomic_reserve", "BURST = 1_500", "BURST = 500", "the reserve is gone"),
    ("buddy", "    await process.exit()\n    await process.wait()\n", "", "and came back"),
    ("cache_pollution", "POLICIES[name]", 'POLICIES["lru"]', "two lists lose hardly"),
    ("cache_pollution", "BACKUP_PAGES = 10_000", "BACKUP_PAGES = 10", "a single list loses"),
    ("elf_program", "5 * PAGE + 100", "5 * PAGE", "the first was when it was loaded"),
    (
        "elf_program",
        '"hello", exe=elf_file())\n    first',
        '"other", exe=elf_file())\n    first',
        "the second",
    ),
    ("fork_cow", "length=STORED * 4096", "length=4096", "a page is copied at its first store"),
    ("fork_cow", "        await child.exec", "        #", "it waits for exec, no longer"),
    ("fork_cow", "LIMIT_KB = 24", "LIMIT_KB = 40", "promises all of its memory"),
    ("innodb_pool", "ROWS = 3", "ROWS = 1", "InnoDB loses less than half"),
    ("innodb_pool", "partial(Innodb, old_blocks_time_ns=0)", "Innodb", "it is the second between"),
    ("kernel_space", "pages[::2]", "pages[:0]", "do not follow each other"),
    ("kernel_space", "pages[:slots]:", "pages[: slots - 1]:", "kmap sleeps"),
    ("malloc_128t", "OTHERS = 3", "OTHERS = 64", "the bookkeeping has no room left"),
    ("malloc_8g", "NR_BLOCKS = 8", "NR_BLOCKS = 2", "touching ends it"),
    ("malloc_brk_mmap", '"ptmalloc2"', '"dlmalloc"', "malloc(1) reserves 132 KiB"),
    ("malloc_brk_mmap", '"200K"', '"100K"', "malloc(200K) made a mapping of its own"),
    ("many_mappings", "(READ, READ | WRITE)", "(READ, READ)", "alike and side by side are one"),
    ("mem_access_path", '("store", 1)', '("store", 0)', "saves the walk"),
    (
        "memory_models",
        '(machine=old_machine("flatmem"',
        '(machine=old_machine("sparsemem"',
        "in use",
    ),
    ("null_pointer", "SIGSEGV = 11", "SIGSEGV = 7", "it is told"),
    ("numa_policies", '"bind", 1, move=True', '"bind", 1', "mbind moves"),
    ("numa_swap_insanity", '"interleave:0-1")', '"preferred:0")', "room for both"),
    ("overcommit", "ALWAYS = 1", "ALWAYS = 2", "only mode 1 promises 4 GB"),
    ("overcommit", 'WANTED = "4G"', 'WANTED = "1G"', "only mode 1 promises 4 GB"),
    ("overcommit", 'FITS = "1500M"', 'FITS = "3G"', "1500 MB fit"),
    ("page_tables", "round(0.2 * PARTS)", "round(0.3 * PARTS)", "as the formula says"),
    ("page_walk", '"PAE": 3', '"PAE": 2', "another number of accesses: ['PAE']"),
    ("rss_vs_vsz", "in blocks[:", "in blocks[2:", "RSS grows by what is written"),
    ("rss_vs_vsz", '"ptmalloc2"', '"jemalloc"', "free of a mapping gives both back"),
    ("segmentation_story", "128 * MB", "256 * MB", "200 MB fitted a hole of 128"),
    ("segmentation_story", "may_swap=True", "may_swap=False", "the holes were not joined"),
    ("stack_overflow", 'f"{limit_kb}K"', '"1M"', "as far as its limit"),
    ("time_slices", "cpu=0) for name", "cpu=len(name) % 2) for name", "in three times"),
    ("threads_share", "offset=number * apart", "offset=number * TABLE", "locked by one at a time"),
    ("threads_share", "ROUNDS = 100", "ROUNDS = 0", "mmap alone"),
    ("tlb_reach", "REACH = 1536", "REACH = 1792", "within its reach"),
    ("uma_bus_saturation", "min(count / alone_ns * 1000, most)", "most / 2", "as theory says"),
    ("watermarks", "zones[1].free - zones[1].low", "zones[1].free", "above low kswapd sleeps"),
    ("zone_fallback", "RATIOS = (256, 32,", "RATIOS = (256, 16,", "as the formula says"),
    ("zone_reclaim", '_mode", mode)', '_mode", mode & 4)', "free the page"),
    ("zone_reclaim", "if maps:", "if not PAGES:", "left alone"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "old", "new", "said"), CHANGES)
def test_what_they_state_can_fail(name, old, new, said, tmp_path, capsys):
    """The run ends with exit status 1, and says what does not hold."""
    path = tmp_path / f"{name}.py"
    text = (FOLDER / f"{name}.py").read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    assert cli.exit_status(["run", str(path)]) == cli.EXIT_CHECK_FAILED
    assert said in capsys.readouterr().err
