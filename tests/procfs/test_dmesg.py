"""The kernel log as `dmesg` prints it."""

import subprocess

from kernelsim.procfs.dmesg import render_dmesg

ENTRIES = [(0, "Mem-Info:"), (1_234_567_890, " free:1"), (20_000 * 10**9, "late")]


def test_lines_have_the_time_since_boot():
    """Seconds in five columns, then microseconds, rounded down."""
    assert render_dmesg(ENTRIES, boot_ns=1_500) == (
        "[    0.000001] Mem-Info:\n[    1.234569]  free:1\n[20000.000001] late\n"
    )
    assert render_dmesg([], boot_ns=0) == ""


def test_the_real_dmesg_prints_the_same(tmp_path, require_tool):
    """It reads the log as the kernel's console has it, with a level before each line."""
    require_tool("dmesg", "util-linux")
    text = render_dmesg(ENTRIES, boot_ns=0)
    log = tmp_path / "log"
    log.write_text("".join(f"<4>{line}\n" for line in text.splitlines()))
    command = ["dmesg", "-F", str(log)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == text
