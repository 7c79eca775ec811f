"""Render the kernel log.

Linux: kernel/printk/printk.c:print_time, /dev/kmsg as `dmesg` prints it, 6.1.
Units: ns.
"""

from collections.abc import Iterable

from kernelsim.units import NS_PER_S, NS_PER_US


def render_dmesg(entries: Iterable[tuple[int, str]], *, boot_ns: int) -> str:
    """Render lines of the kernel log, each with the seconds since the machine has booted.

    Args:
        entries: Virtual time and text of each line.
        boot_ns: How long the machine had been up at virtual time 0.

    Source: Linux 6.1 kernel/printk/printk.c:print_time
    """
    text: list[str] = []
    for t_ns, line in entries:
        seconds, rest_ns = divmod(boot_ns + t_ns, NS_PER_S)
        text.append(f"[{seconds:5d}.{rest_ns // NS_PER_US:06d}] {line}\n")
    return "".join(text)
