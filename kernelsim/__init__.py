"""A deterministic simulator of Linux memory management in virtual time.

Every CPU, NUMA node, kswapd and process is a task; what the kernel decides is plain functions.
Each folder's docstring is its guide. A folder imports only from folders of a lower rank:

 0. `units.py` `errors.py`  sizes, times, every exception
 1. `config`    machines, sysctls, costs: what a user may turn
 2. `sim`       the engine: virtual time, actors, locks, random streams; knows no memory
    `trace`     tracepoints and counters by Linux's names; knows no sink
 3. `hw`        what the hardware does: compiled leaf functions, TLB
 4. `mm`        what the kernel decides, named as Linux's mm/ directory: no waiting in here
 5. `user`      what lives in user space
 6. `actors`    what waits: CPUs, nodes, kswapd, devices, processes
 7. `workload`  the interface for workload authors
 8. `machine.py`  puts a machine together from a specification and a seed
 9. `procfs`    texts of /proc and /sys from snapshots
    `check`     invariants, read-only
10. `explore`   many runs: stress, replay, sweep
11. `report`    what a run leaves behind
12. `cli`       one file a command
"""

__version__ = "0.1.0"
