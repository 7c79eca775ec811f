"""Steps that make children: what the parent reads afterwards in memory that both have."""

import pytest

from kernelsim.cli import main as cli


@pytest.mark.mission("V11")
def test_a_child_stores_into_memory_that_both_share(tmp_path, capsys):
    """A forked child's byte reaches its parent in shared memory only; one of clone anywhere.

    As recorded from Linux 6.1: forkcow stores 0x55, clonevm 0x77, the parent 0x1.
    """
    path = tmp_path / "script"
    path.write_text(
        "memhog mmapshared:s:16K touchw:s forkcow:s:8K mmap:a:16K touchw:a forkcow:a:8K "
        "clonevm:a:8K\n"
    )
    assert cli.exit_status(["run", str(path), "--machine", "tiny-64m"]) == cli.EXIT_DONE
    words = capsys.readouterr().out.split()
    assert [word for word in words if word.startswith("parent_")] == [
        "parent_byte0=0x55",
        "parent_byte0=0x1",
        "parent_before=0x1",
        "parent_after=0x77",
    ]
