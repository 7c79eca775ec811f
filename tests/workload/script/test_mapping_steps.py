"""Steps of scripts that change mappings whose pages stay, and name parts of them."""

import pytest

from kernelsim.cli import main as cli

pytestmark = pytest.mark.mission("V12")

SCRIPT = """
memhog name:A mmap:a:64K touchw:a part:p:a:16K:8K mprotect:p:1 mprotect:a:3 mremap:a:128K \\
touchw:p mremapkeep:a:128K mremapinplace:a:32K mlockall munlockall setrlimit:AS:1K \\
mmap:b:1M part:q:a:1G:4K
"""


def test_a_script_protects_moves_locks_and_limits(tmp_path, capsys):
    """Each step answers as its call does; mremap gives the region its new place and length."""
    path = tmp_path / "s.txt"
    path.write_text(SCRIPT.replace("\\\n", ""))
    assert cli.exit_status(["run", str(path), "--machine", "uma-2g"]) == cli.EXIT_DONE
    lines = [line for line in capsys.readouterr().out.splitlines() if "step=" in line]
    answers = {line.split(" op=")[1].split()[0]: line for line in lines}
    assert "errno=12" in answers["mmap:b:1M"]
    assert "errno=22" in answers["part:q:a:1G:4K"]
    failed = [line for line in lines if "ret=-1" in line]
    assert len(failed) == 2, failed


def test_a_script_grows_its_stack_churns_a_heap_and_moves_pages(tmp_path, capsys):
    """A touched stack is mapped, an allocator makes calls, and pages are on the other node."""
    path = tmp_path / "s.txt"
    path.write_text(
        "memhog cpu:0 stack:s:128K touchw:s churn:jemalloc:3:40:64K mmap:a:64K touchw:a "
        "movepages:a:1 where:a movepages:a:7 stack:t:1G touchr:t\n"
    )
    assert cli.exit_status(["run", str(path), "--machine", "numa-2x64m"]) == cli.EXIT_DONE
    lines = [line for line in capsys.readouterr().out.splitlines() if "step=" in line]
    told = {line.split(" op=")[1].split()[0]: line for line in lines}
    assert "there=16 of=16" in told["movepages:a:1"]
    assert "n0=0 n1=16" in told["where:a"]
    assert "errno=19" in told["movepages:a:7"]
    assert "minflt=30" in told["touchw:s"]  # the loader has touched the two at the top
    assert int(told["churn:jemalloc:3:40:64K"].split(" calls=")[1].split()[0]) > 0
    assert "touchr:t" not in told  # beyond the limit of the stack: SIGSEGV


def test_tasks_change_one_address_space_at_once(tmp_path, capsys):
    """A pool of them maps, unmaps, moves and forks side by side; what it began with stays."""
    path = tmp_path / "s.txt"
    path.write_text("memhog name:t mmap:a:64K touchw:a pool:a:3:40 mmap:b:1T pool:b:1:1\n")
    words = ["run", str(path), "--machine", "laptop-4g", "--check"]
    assert cli.exit_status(words) == cli.EXIT_DONE
    text = capsys.readouterr().out
    lines = {line.split(" op=")[1].split()[0]: line for line in text.splitlines() if " op=" in line}
    assert int(lines["pool:a:3:40"].split(" tasks=")[1].split()[0]) > 1
    assert "errno=22" in lines["pool:b:1:1"]
    nr_waits, nr_taken = next(
        map(int, line.split()[1:4:2]) for line in text.splitlines() if "mmap_lock" in line
    )
    assert nr_taken > nr_waits > 0


def test_a_script_has_the_kernel_take_blocks_and_packets(tmp_path, capsys):
    """What `stress` cuts down runs by itself; all is given back at the end."""
    path = tmp_path / "s.txt"
    path.write_text("memhog kblock:3:4 kfree:1 netrx:20:5 kblock:2:1:atomic &\nwait\n")
    assert cli.exit_status(["run", str(path), "--machine", "tiny-64m"]) == cli.EXIT_DONE
    lines = [line for line in capsys.readouterr().out.splitlines() if " op=" in line]
    assert ["blocks=4", "blocks=1"] == [lines[0].split()[-1], lines[3].split()[-1]]
    assert "dropped=0" in lines[2]
