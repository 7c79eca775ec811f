"""Write OOM reports as kernels of several ages log them, for tests of what reads them."""

# pid, name, rss, swapents, oom_score_adj
TASKS = (
    (1, "systemd", 300, 200, 0),
    (210, "sshd", 150, 100, -1000),
    (900, "java", 9000, 3000, 0),
    (901, "worker", 4000, 9000, 0),
    (950, "cache server", 2500, 1000, 300),
)
TOTAL_KB = 60 << 10  # of swap


def report(*, killed=901, tasks=TASKS, swap_free_kb=0):
    """Return the report of a 6.x kernel on 64 MiB with swap."""
    rows = "".join(
        f"[{pid:>7}]     0 {pid:>5}    99999 {rss:>8}    45056 {swap:>8}         {adj:>5} {name}\n"
        for pid, name, rss, swap, adj in tasks
    )
    name = next((name for pid, name, *_ in tasks if pid == killed), "")
    return (
        "java invoked oom-killer: gfp_mask=0x140dca(GFP_HIGHUSER_MOVABLE|__GFP_COMP|__GFP_ZERO), "
        "order=0, oom_score_adj=0\n"
        "CPU: 1 PID: 900 Comm: java Not tainted 6.1.0 #1\nMem-Info:\n"
        "active_anon:12000 inactive_anon:900 isolated_anon:0\n free:700 free_pcp:0 free_cma:0\n"
        "Node 0 active_anon:48000kB inactive_anon:3600kB all_unreclaimable? yes\n"
        "Node 0 DMA free:1000kB boost:0kB min:88kB low:108kB high:128kB reserved_highatomic:0KB "
        "active_anon:9000kB present:15992kB managed:15360kB mlocked:0kB free_cma:0kB\n"
        "lowmem_reserve[]: 0 30 30 30 30\n"
        "Node 0 DMA32 free:1800kB boost:1024kB min:2000kB low:2200kB high:2400kB "
        "active_anon:39000kB present:49152kB managed:40960kB mlocked:0kB free_cma:0kB\n"
        "lowmem_reserve[]: 0 0 0 0 0\n"
        "Node 0 DMA: 1*4kB (M) 2*8kB (UM) 0*4096kB = 1000kB\n"
        f"Free swap  = {swap_free_kb}kB\nTotal swap = {TOTAL_KB}kB\n16286 pages RAM\n"
        "Tasks state (memory values in pages):\n"
        "[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name\n"
        f"{rows}"
        f"oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),global_oom,task={name},pid={killed}\n"
        f"Out of memory: Killed process {killed} ({name}) total-vm:1kB, anon-rss:1kB\n"
    )


OLD = (  # as 3.10 logs it
    "httpd invoked oom-killer: gfp_mask=0x201da, order=0, oom_score_adj=0\n"
    "CPU: 3 PID: 77 Comm: httpd Not tainted 3.10.0 #1\nMem-Info:\n"
    "Node 0 DMA per-cpu:\nCPU    0: hi:    0, btch:   1 usd:   0\n"
    "active_anon:12000 inactive_anon:900 isolated_anon:0\n"
    "Node 0 DMA free:1000kB min:88kB low:108kB high:132kB active_anon:9000kB present:15992kB "
    "managed:15908kB pages_scanned:1 all_unreclaimable? yes\n"
    "lowmem_reserve[]: 0 44 44 44\n"
    "Node 0 DMA32 free:1800kB min:976kB low:1220kB high:1464kB active_anon:39000kB "
    "present:49152kB managed:45056kB pages_scanned:9 all_unreclaimable? yes\n"
    "lowmem_reserve[]: 0 0 0 0\n"
    "Node 0 DMA: 1*4kB (M) 2*8kB (UM) 0*4096kB = 1000kB\n"
    "Free swap  = 0kB\nTotal swap = 0kB\n"
    "[ pid ]   uid  tgid total_vm      rss nr_ptes swapents oom_score_adj name\n"
    "[   77]    48    77    70000     6000      30        0             0 httpd\n"
    "[   78]    48    78    70000     5000      30        0             0 (sd-pam)\n"
    "Out of memory: Kill process 77 (httpd) score 400 or sacrifice child\n"
    "Killed process 77 (httpd) total-vm:280000kB, anon-rss:24000kB, file-rss:0kB\n"
)
