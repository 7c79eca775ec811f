"""What each CPU is doing inside a burst, as columns of arrays.

Interface: `Burst` is made once a machine. A CPU takes part while its `B_PHASE` is not `OUT`; the
actor of its process fills the columns in and reads the results when it is stopped.
Units: ns, virtual page numbers, pages.
"""

from typing import Final, NamedTuple

import numpy as np

from kernelsim.hw.tlb import NR_TLB_SETS, NR_TLB_WAYS
from kernelsim.mm.core.mem import I64, I64_2D, I64_3D, PAGEVEC_SIZE

# Phases: what happens at B_TIME. Asking an actor is an event of its own, as each message is one.
OUT: Final = 0  # takes no part
STOPPED: Final = 1  # the task goes on; B_STOP says why
USER: Final = 2  # the program goes on with its next access
ENTER: Final = 3  # the fault handler hears of a fault
FAULT: Final = 4  # the kernel has been entered, the fault is looked at
TAKE: Final = 5  # the node hears that a page is wanted
REFILL: Final = 6  # zone->lock is granted
CLEAR: Final = 7  # the fresh page is there
LINK: Final = 8  # the interconnect hears of its bytes, if it is remote
CROSSED: Final = 9  # they have crossed the link
TRAFFIC: Final = 10  # the memory controller hears of them
PASSED: Final = 11  # they have passed it
MAP: Final = 12  # the page is clean
FLUSH: Final = 13  # the TLB has to forget the zero page, whose place it takes
FLUSHED: Final = 14  # and has
ADD: Final = 15  # the node hears that the folio_batch is full
LRU: Final = 16  # lru_lock is granted
ADDED: Final = 17  # and given back
RETURN: Final = 18  # the kernel is left
BACK: Final = 19  # the program hears of that, the access that faulted is done
WAITING: Final = 20  # queues at a lock behind actors, which wake it up
SENT: Final = 21  # an access has missed the caches and is for the bus or a link

# Why a CPU stopped
STOP_DONE: Final = 0  # all accesses are done
STOP_FAULT: Final = 1  # the next access needs what only the fault handler can do
STOP_ENTERED: Final = 2  # the same, found out when the cost of entering the kernel was paid
STOP_SLICE: Final = 3  # others want the CPU and its time may be over
STOP_KILLED: Final = 4  # a fatal signal is pending
STOP_FREE: Final = 5  # a fault is served, but pages of its folio_batch lost their last user

# What makes a burst return before its time, besides a CPU that stopped
CALL_NOTHING: Final = 0
CALL_BOOSTED: Final = 1  # a watermark was boosted: kswapd is to wake up, then the CPU goes on
CALL_EXTFRAG: Final = 2  # a pageblock was stolen, for the tracepoint
CALL_QUEUE: Final = 3  # the CPU has to queue at a lock behind actors
CALL_FLUSH: Final = 4  # its TLB has to forget a page; then the CPU goes on

# Columns of `Burst.run`: what is asked for,
B_PHASE: Final = 0
B_TIME: Final = 1  # of its next event
B_NUMBER: Final = 2  # of that event, as the clock numbers events; for ties
B_MM: Final = 3  # number of the address space
B_ASID: Final = 4
B_VPN: Final = 5  # of the next access, unless they are listed
B_STRIDE: Final = 6  # pages
B_WRITE: Final = 7
B_LEFT: Final = 8  # accesses to go
B_LISTED: Final = 9  # 1: accesses are those of `Burst.access`, from B_AT on
B_AT: Final = 10
B_TOKEN: Final = 11  # what a store leaves
B_SLICE_END: Final = 12  # it has to look up at this time, if others wait for the CPU
B_NID: Final = 13  # node of the CPU
B_TABLE: Final = 14  # which table of PTEs was walked to last, by the page numbers it translates
B_ROW: Final = 15  # and its row; 0: none yet
B_STOLEN: Final = 16  # ns that interrupts took and the task has not been charged
B_KILLED: Final = 17
# what it is in the middle of,
B_FOR: Final = 18  # FOR_*: what B_PFN is to be
B_PFN: Final = 19
B_ZONE: Final = 20  # where B_PFN is from, or is to come from
B_BEGAN: Final = 21  # when the present wait, or the clearing, began
B_SERVER: Final = 22  # the lock it has or waits for,
B_HOLD: Final = 23  # and how long it holds it
B_KIND: Final = 24  # of the fault
B_ENTERED: Final = 25  # when the fault began
B_LOCK_BEGAN: Final = 26  # B_LOCK_NS then
B_USER_NS: Final = 27  # of the access that is to follow; -1 when it has to be tried again
# and what has come of it.
B_STOP: Final = 28
B_DONE: Final = 29  # accesses
B_UTIME: Final = 30
B_STIME: Final = 31
B_LOCK_NS: Final = 32  # waits and work under zone locks
B_HITS: Final = 33  # pages that swap readahead had brought
B_LAST_HIT: Final = 34  # vpn of the last fault on the swap cache
B_NR_FAULTS: Final = 35  # by kind (FAULT_*) from here on,
B_FIRST_VPN: Final = 40  # the page of the first,
B_FAULT_NS: Final = 45  # their latencies,
B_FAULT_LOCK_NS: Final = 50  # and the part of these under zone locks
B_NR_ZERO: Final = 55  # of the faults, those that mapped the zero page
B_LOCKED: Final = 56  # 1: the area it accesses is locked in memory
B_FILE: Final = 57  # 1: a page without an entry may be one of a file, which the handler looks for
B_READ: Final = 58  # what loads read, as `read_sum` adds it up
B_FLUSH_NS: Final = 59  # what the flush of a page takes
B_IN_LRU_FAULT: Final = 60  # 1: that its pages are used says that they will be used again
B_NR_INTERLEAVED: Final = 61  # nodes its pages are interleaved to; 0: they are not
B_INDEX: Final = 62  # what a page number and this add up to decides which of them
B_SPREADS_TABLES: Final = 63  # 1: so are its page tables, which the handler looks after
B_TARGET: Final = 64  # node of the memory that is accessed
B_IS_LINE: Final = 65  # 1: what passes bus, link and controller is the line of an access
NR_BURST_COLUMNS: Final = 66
NR_KINDS: Final = 5

ACCESSES_MAX: Final = 4096  # listed at once

# What pages are asked for, and columns of `Burst.request`
FOR_PAGE: Final = 0  # the program's own
FOR_TABLE: Final = 1  # page tables
FOR_NODE: Final = 2  # the program's own, interleaved to the first node of its policy; and so on
R_MIGRATETYPE: Final = 0
R_HIGHEST: Final = 1  # highest zone index the request may use
R_PREFERRED: Final = 2  # node the policy wants
R_ALLOC_FLAGS: Final = 3  # ALLOC_* below the low watermark
R_NR_ZONES: Final = 4
R_ZONES: Final = 5  # zone rows in the order they are tried, from here on
ZONES_MAX: Final = 64  # of a zonelist

# Rows of `Burst.due`: the next event of each CPU
D_TIME: Final = 0  # NEVER_NS for none
D_TIE: Final = 1
D_NUMBER: Final = 2
NEVER_NS: Final = 1 << 62

# Entries of `Burst.order`
O_NUMBER: Final = 0  # of the last event that was scheduled
O_TIME: Final = 1  # of the last event that was done
O_IS_SEEDED: Final = 2  # 1: of events that are due at once, a seed decides which is first
O_SEED: Final = 3
O_HAS_NEWS: Final = 4  # 1: there is traffic to be accounted for, or a kswapd to be told
O_HITS: Final = 5  # pages faults have found that swap readahead had brought, not taken yet
NR_ORDER: Final = 6

# Columns of `Burst.holds`
H_SERVER: Final = 0
H_ASKED: Final = 1
H_BEGIN: Final = 2
H_HOLD: Final = 3
H_CPU: Final = 4
NR_HOLD_COLUMNS: Final = 5
HOLDS_MAX: Final = 4096  # until they are entered in the accounts
H_NR: Final = 0  # of row 0: how many rows follow
H_WAITED: Final = 1  # and whether anybody waited for one of them

# Columns of `Burst.notes`: zones whose free pages crossed a watermark
N_TIME: Final = 0
N_ZONE: Final = 1
N_BAND: Final = 2
N_FREE: Final = 3
NR_NOTE_COLUMNS: Final = 4
NOTES_MAX: Final = 1024

# Columns of `Burst.traffic`
T_COUNT: Final = 0
T_WAITS: Final = 1
T_HOLD: Final = 2
T_WAIT: Final = 3
T_WAIT_MAX: Final = 4
NR_TRAFFIC_COLUMNS: Final = 5

# Entries of `Burst.cost`, ns unless they say otherwise
C_FAULT_ENTRY: Final = 0
C_PTE_SET: Final = 1
C_ZONE_HOLD_PAGE: Final = 2
C_LRU_HOLD_PAGE: Final = 3
C_CLEAR_PAGE: Final = 4
C_CONTROLLER_PAGE: Final = 5
C_LINK_PAGE: Final = 6
C_TLB_HIT: Final = 7
C_WALK_STEP: Final = 8
C_LINE: Final = 9  # access to a cache line in the kernel
C_SPREAD: Final = 14  # of that, in 1/1000 of its mean
C_SEED: Final = 10  # where the spread is drawn from
C_NR_NODES: Final = 11
C_NR_ZONES: Final = 12
C_ZERO_PFN: Final = 13
C_HAS_BUS: Final = 15  # 1: accesses queue on their way to memory; the five below are for them
C_BUS_PAGE: Final = 16
C_BUS_LINE: Final = 17  # a cache line
C_CONTROLLER_LINE: Final = 18
C_LINK_LINE: Final = 19
C_CACHE_MISS: Final = 20  # the part of an access before it leaves the CPU
C_ZONE_HOLD: Final = 21  # of zone->lock, besides what C_ZONE_HOLD_PAGE says
NR_COSTS: Final = 22


class Burst(NamedTuple):
    """The burst of one machine."""

    run: I64_2D  # [cpu, B_*]
    request: I64_3D  # [cpu, FOR_*, R_*]; as many nodes as there are may be interleaved
    kswapd_asleep: I64  # [nid] 1: it sleeps, and a request below low has to wake it
    kswapd_wanted: I64  # [nid] highest zone index + 1 of such requests since the actors looked
    access: I64_2D  # [cpu, ACCESSES_MAX] vpn << 1 | is a store
    free_ns: I64  # [server] when it is free for the next request
    queued: I64  # [server] requests of actors that wait there, or behind them
    nr_waiting: I64  # [server] CPUs that wait there, and not behind actors
    holds: I64_2D  # [1 + HOLDS_MAX, H_*] of locks, in the order of their grants; row 0: H_NR, …
    traffic: I64_2D  # [server, T_*] of controllers, links and buses
    notes: I64_2D  # [1 + NOTES_MAX, N_*]; [0, 0] = how many
    band: I64  # [zone] where its free pages were when that was noted last; -1 for no pages
    granted: I64  # [nid] pages handed out and not given back
    placed: I64  # [1] pages put into use, less those taken out of it
    order: I64  # [O_*]
    due: I64_2D  # [D_*, cpu]
    cost: I64  # [C_*]
    distance: I64_2D  # [nid, nid] 10 is local
    memory_ns: I64_2D  # [nid of the CPU, nid] access to that node's memory
    nr_draws: I64  # [cpu] numbers drawn so far
    tlb_tag: I64_3D  # [cpu, set, way] as Tlb.tag
    tlb_entry: I64_3D  # [cpu, set, way] as Tlb.entry
    tlb_victim: I64_2D  # [cpu, set]
    spare: I64  # room for pfns
    freed: I64_2D  # [cpu, 1 + PAGEVEC_SIZE] pages of its folio_batch without a user; [0] = how many


def new_burst(*, nr_cpus: int, nr_nodes: int, nr_zones: int) -> Burst:
    """Return a burst in which no CPU takes part; costs and distances are filled in by the caller.

    Servers are numbered: zone->lock of every zone, lru_lock of every node, the memory controllers,
    then the links from node to node. The link of a node to itself is its bus.
    """
    nr_servers = nr_zones + 2 * nr_nodes + nr_nodes * nr_nodes
    cost = np.zeros(NR_COSTS, np.int64)
    cost[C_NR_NODES] = nr_nodes
    cost[C_NR_ZONES] = nr_zones
    return Burst(
        run=np.zeros((nr_cpus, NR_BURST_COLUMNS), np.int64),
        request=np.zeros((nr_cpus, FOR_NODE + nr_nodes, R_ZONES + ZONES_MAX), np.int64),
        kswapd_asleep=np.zeros(nr_nodes, np.int64),
        kswapd_wanted=np.zeros(nr_nodes, np.int64),
        access=np.zeros((nr_cpus, ACCESSES_MAX), np.int64),
        free_ns=np.zeros(nr_servers, np.int64),
        queued=np.zeros(nr_servers, np.int64),
        nr_waiting=np.zeros(nr_servers, np.int64),
        holds=np.zeros((1 + HOLDS_MAX, NR_HOLD_COLUMNS), np.int64),
        traffic=np.zeros((nr_servers, NR_TRAFFIC_COLUMNS), np.int64),
        notes=np.zeros((1 + NOTES_MAX, NR_NOTE_COLUMNS), np.int64),
        band=np.full(nr_zones, -1, np.int64),
        granted=np.zeros(nr_nodes, np.int64),
        placed=np.zeros(1, np.int64),
        order=np.zeros(NR_ORDER, np.int64),
        due=np.zeros((3, nr_cpus), np.int64),
        cost=cost,
        distance=np.full((nr_nodes, nr_nodes), 10, np.int64),
        memory_ns=np.zeros((nr_nodes, nr_nodes), np.int64),
        nr_draws=np.zeros(nr_cpus, np.int64),
        tlb_tag=np.zeros((nr_cpus, NR_TLB_SETS, NR_TLB_WAYS), np.int64),
        tlb_entry=np.zeros((nr_cpus, NR_TLB_SETS, NR_TLB_WAYS), np.int64),
        tlb_victim=np.zeros((nr_cpus, NR_TLB_SETS), np.int64),
        spare=np.zeros(32, np.int64),
        freed=np.zeros((nr_cpus, 1 + PAGEVEC_SIZE), np.int64),
    )
