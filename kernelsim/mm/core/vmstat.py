"""Counters of zones, nodes, NUMA and events, under the names /proc/vmstat prints.

Linux: mm/vmstat.c:vmstat_text (6.1), include/linux/mmzone.h, include/linux/vm_event_item.h.
Interface: a constant is a column of `Mem.zone_stat`, `Mem.node_stat`, `Mem.numa_stat` or an
entry of `Mem.vm_event`; the tuples of names are in the same order. NR_FREE_PAGES of a zone lives
in `Mem.zone[:, Z_FREE]`; the column here is filled in when a snapshot is taken.
Units: pages, but for nr_kernel_stack (kB) and plain counts of events.
"""

from typing import Final

# Columns of Mem.zone_stat
NR_FREE_PAGES: Final = 0
NR_ZONE_INACTIVE_ANON: Final = 1
NR_ZONE_ACTIVE_ANON: Final = 2
NR_ZONE_INACTIVE_FILE: Final = 3
NR_ZONE_ACTIVE_FILE: Final = 4
NR_ZONE_UNEVICTABLE: Final = 5
NR_ZONE_WRITE_PENDING: Final = 6
NR_MLOCK: Final = 7
NR_BOUNCE: Final = 8
NR_ZSPAGES: Final = 9
NR_FREE_CMA: Final = 10

# Columns of Mem.node_stat
NR_INACTIVE_ANON: Final = 0
NR_ACTIVE_ANON: Final = 1
NR_INACTIVE_FILE: Final = 2
NR_ACTIVE_FILE: Final = 3
NR_UNEVICTABLE: Final = 4
NR_SLAB_RECLAIMABLE: Final = 5
NR_SLAB_UNRECLAIMABLE: Final = 6
NR_ISOLATED_ANON: Final = 7
NR_ISOLATED_FILE: Final = 8
WORKINGSET_NODES: Final = 9
WORKINGSET_REFAULT_ANON: Final = 10
WORKINGSET_REFAULT_FILE: Final = 11
WORKINGSET_ACTIVATE_ANON: Final = 12
WORKINGSET_ACTIVATE_FILE: Final = 13
WORKINGSET_RESTORE_ANON: Final = 14
WORKINGSET_RESTORE_FILE: Final = 15
WORKINGSET_NODERECLAIM: Final = 16
NR_ANON_PAGES: Final = 17
NR_MAPPED: Final = 18
NR_FILE_PAGES: Final = 19
NR_DIRTY: Final = 20
NR_WRITEBACK: Final = 21
NR_WRITEBACK_TEMP: Final = 22
NR_SHMEM: Final = 23
NR_SHMEM_HUGEPAGES: Final = 24
NR_SHMEM_PMDMAPPED: Final = 25
NR_FILE_HUGEPAGES: Final = 26
NR_FILE_PMDMAPPED: Final = 27
NR_ANON_TRANSPARENT_HUGEPAGES: Final = 28
NR_VMSCAN_WRITE: Final = 29
NR_VMSCAN_IMMEDIATE_RECLAIM: Final = 30
NR_DIRTIED: Final = 31
NR_WRITTEN: Final = 32
NR_THROTTLED_WRITTEN: Final = 33
NR_KERNEL_MISC_RECLAIMABLE: Final = 34
NR_FOLL_PIN_ACQUIRED: Final = 35
NR_FOLL_PIN_RELEASED: Final = 36
NR_KERNEL_STACK: Final = 37
NR_PAGE_TABLE_PAGES: Final = 38
NR_SEC_PAGE_TABLE_PAGES: Final = 39
NR_SWAPCACHED: Final = 40
PGPROMOTE_SUCCESS: Final = 41
PGPROMOTE_CANDIDATE: Final = 42

# Columns of Mem.numa_stat
NUMA_HIT: Final = 0
NUMA_MISS: Final = 1
NUMA_FOREIGN: Final = 2
NUMA_INTERLEAVE: Final = 3
NUMA_LOCAL: Final = 4
NUMA_OTHER: Final = 5

# Entries of Mem.vm_event
PGPGIN: Final = 0
PGPGOUT: Final = 1
PSWPIN: Final = 2
PSWPOUT: Final = 3
PGALLOC_DMA: Final = 4
PGALLOC_DMA32: Final = 5
PGALLOC_NORMAL: Final = 6
PGALLOC_MOVABLE: Final = 7
PGALLOC_DEVICE: Final = 8
ALLOCSTALL_DMA: Final = 9
ALLOCSTALL_DMA32: Final = 10
ALLOCSTALL_NORMAL: Final = 11
ALLOCSTALL_MOVABLE: Final = 12
ALLOCSTALL_DEVICE: Final = 13
PGSKIP_DMA: Final = 14
PGSKIP_DMA32: Final = 15
PGSKIP_NORMAL: Final = 16
PGSKIP_MOVABLE: Final = 17
PGSKIP_DEVICE: Final = 18
PGFREE: Final = 19
PGACTIVATE: Final = 20
PGDEACTIVATE: Final = 21
PGLAZYFREE: Final = 22
PGFAULT: Final = 23
PGMAJFAULT: Final = 24
PGLAZYFREED: Final = 25
PGREFILL: Final = 26
PGREUSE: Final = 27
PGSTEAL_KSWAPD: Final = 28
PGSTEAL_DIRECT: Final = 29
PGDEMOTE_KSWAPD: Final = 30
PGDEMOTE_DIRECT: Final = 31
PGSCAN_KSWAPD: Final = 32
PGSCAN_DIRECT: Final = 33
PGSCAN_DIRECT_THROTTLE: Final = 34
PGSCAN_ANON: Final = 35
PGSCAN_FILE: Final = 36
PGSTEAL_ANON: Final = 37
PGSTEAL_FILE: Final = 38
ZONE_RECLAIM_FAILED: Final = 39
PGINODESTEAL: Final = 40
SLABS_SCANNED: Final = 41
KSWAPD_INODESTEAL: Final = 42
KSWAPD_LOW_WMARK_HIT_QUICKLY: Final = 43
KSWAPD_HIGH_WMARK_HIT_QUICKLY: Final = 44
PAGEOUTRUN: Final = 45
PGROTATED: Final = 46
DROP_PAGECACHE: Final = 47
DROP_SLAB: Final = 48
OOM_KILL: Final = 49
NUMA_PTE_UPDATES: Final = 50
NUMA_HUGE_PTE_UPDATES: Final = 51
NUMA_HINT_FAULTS: Final = 52
NUMA_HINT_FAULTS_LOCAL: Final = 53
NUMA_PAGES_MIGRATED: Final = 54
PGMIGRATE_SUCCESS: Final = 55
PGMIGRATE_FAIL: Final = 56
THP_MIGRATION_SUCCESS: Final = 57
THP_MIGRATION_FAIL: Final = 58
THP_MIGRATION_SPLIT: Final = 59
COMPACT_MIGRATE_SCANNED: Final = 60
COMPACT_FREE_SCANNED: Final = 61
COMPACT_ISOLATED: Final = 62
COMPACT_STALL: Final = 63
COMPACT_FAIL: Final = 64
COMPACT_SUCCESS: Final = 65
COMPACT_DAEMON_WAKE: Final = 66
COMPACT_DAEMON_MIGRATE_SCANNED: Final = 67
COMPACT_DAEMON_FREE_SCANNED: Final = 68
HTLB_BUDDY_ALLOC_SUCCESS: Final = 69
HTLB_BUDDY_ALLOC_FAIL: Final = 70
UNEVICTABLE_PGS_CULLED: Final = 71
UNEVICTABLE_PGS_SCANNED: Final = 72
UNEVICTABLE_PGS_RESCUED: Final = 73
UNEVICTABLE_PGS_MLOCKED: Final = 74
UNEVICTABLE_PGS_MUNLOCKED: Final = 75
UNEVICTABLE_PGS_CLEARED: Final = 76
UNEVICTABLE_PGS_STRANDED: Final = 77
THP_FAULT_ALLOC: Final = 78
THP_FAULT_FALLBACK: Final = 79
THP_FAULT_FALLBACK_CHARGE: Final = 80
THP_COLLAPSE_ALLOC: Final = 81
THP_COLLAPSE_ALLOC_FAILED: Final = 82
THP_FILE_ALLOC: Final = 83
THP_FILE_FALLBACK: Final = 84
THP_FILE_FALLBACK_CHARGE: Final = 85
THP_FILE_MAPPED: Final = 86
THP_SPLIT_PAGE: Final = 87
THP_SPLIT_PAGE_FAILED: Final = 88
THP_DEFERRED_SPLIT_PAGE: Final = 89
THP_SPLIT_PMD: Final = 90
THP_SCAN_EXCEED_NONE_PTE: Final = 91
THP_SCAN_EXCEED_SWAP_PTE: Final = 92
THP_SCAN_EXCEED_SHARE_PTE: Final = 93
THP_SPLIT_PUD: Final = 94
THP_ZERO_PAGE_ALLOC: Final = 95
THP_ZERO_PAGE_ALLOC_FAILED: Final = 96
THP_SWPOUT: Final = 97
THP_SWPOUT_FALLBACK: Final = 98
BALLOON_INFLATE: Final = 99
BALLOON_DEFLATE: Final = 100
BALLOON_MIGRATE: Final = 101
SWAP_RA: Final = 102
SWAP_RA_HIT: Final = 103
KSM_SWPIN_COPY: Final = 104
COW_KSM: Final = 105
ZSWPIN: Final = 106
ZSWPOUT: Final = 107
DIRECT_MAP_LEVEL2_SPLITS: Final = 108
DIRECT_MAP_LEVEL3_SPLITS: Final = 109

ZONE_STAT_NAMES: Final = (
    "nr_free_pages",
    "nr_zone_inactive_anon",
    "nr_zone_active_anon",
    "nr_zone_inactive_file",
    "nr_zone_active_file",
    "nr_zone_unevictable",
    "nr_zone_write_pending",
    "nr_mlock",
    "nr_bounce",
    "nr_zspages",
    "nr_free_cma",
)

NODE_STAT_NAMES: Final = (
    "nr_inactive_anon",
    "nr_active_anon",
    "nr_inactive_file",
    "nr_active_file",
    "nr_unevictable",
    "nr_slab_reclaimable",
    "nr_slab_unreclaimable",
    "nr_isolated_anon",
    "nr_isolated_file",
    "workingset_nodes",
    "workingset_refault_anon",
    "workingset_refault_file",
    "workingset_activate_anon",
    "workingset_activate_file",
    "workingset_restore_anon",
    "workingset_restore_file",
    "workingset_nodereclaim",
    "nr_anon_pages",
    "nr_mapped",
    "nr_file_pages",
    "nr_dirty",
    "nr_writeback",
    "nr_writeback_temp",
    "nr_shmem",
    "nr_shmem_hugepages",
    "nr_shmem_pmdmapped",
    "nr_file_hugepages",
    "nr_file_pmdmapped",
    "nr_anon_transparent_hugepages",
    "nr_vmscan_write",
    "nr_vmscan_immediate_reclaim",
    "nr_dirtied",
    "nr_written",
    "nr_throttled_written",
    "nr_kernel_misc_reclaimable",
    "nr_foll_pin_acquired",
    "nr_foll_pin_released",
    "nr_kernel_stack",
    "nr_page_table_pages",
    "nr_sec_page_table_pages",
    "nr_swapcached",
    "pgpromote_success",
    "pgpromote_candidate",
)

NUMA_STAT_NAMES: Final = (
    "numa_hit",
    "numa_miss",
    "numa_foreign",
    "numa_interleave",
    "numa_local",
    "numa_other",
)

VM_EVENT_NAMES: Final = (
    "pgpgin",
    "pgpgout",
    "pswpin",
    "pswpout",
    "pgalloc_dma",
    "pgalloc_dma32",
    "pgalloc_normal",
    "pgalloc_movable",
    "pgalloc_device",
    "allocstall_dma",
    "allocstall_dma32",
    "allocstall_normal",
    "allocstall_movable",
    "allocstall_device",
    "pgskip_dma",
    "pgskip_dma32",
    "pgskip_normal",
    "pgskip_movable",
    "pgskip_device",
    "pgfree",
    "pgactivate",
    "pgdeactivate",
    "pglazyfree",
    "pgfault",
    "pgmajfault",
    "pglazyfreed",
    "pgrefill",
    "pgreuse",
    "pgsteal_kswapd",
    "pgsteal_direct",
    "pgdemote_kswapd",
    "pgdemote_direct",
    "pgscan_kswapd",
    "pgscan_direct",
    "pgscan_direct_throttle",
    "pgscan_anon",
    "pgscan_file",
    "pgsteal_anon",
    "pgsteal_file",
    "zone_reclaim_failed",
    "pginodesteal",
    "slabs_scanned",
    "kswapd_inodesteal",
    "kswapd_low_wmark_hit_quickly",
    "kswapd_high_wmark_hit_quickly",
    "pageoutrun",
    "pgrotated",
    "drop_pagecache",
    "drop_slab",
    "oom_kill",
    "numa_pte_updates",
    "numa_huge_pte_updates",
    "numa_hint_faults",
    "numa_hint_faults_local",
    "numa_pages_migrated",
    "pgmigrate_success",
    "pgmigrate_fail",
    "thp_migration_success",
    "thp_migration_fail",
    "thp_migration_split",
    "compact_migrate_scanned",
    "compact_free_scanned",
    "compact_isolated",
    "compact_stall",
    "compact_fail",
    "compact_success",
    "compact_daemon_wake",
    "compact_daemon_migrate_scanned",
    "compact_daemon_free_scanned",
    "htlb_buddy_alloc_success",
    "htlb_buddy_alloc_fail",
    "unevictable_pgs_culled",
    "unevictable_pgs_scanned",
    "unevictable_pgs_rescued",
    "unevictable_pgs_mlocked",
    "unevictable_pgs_munlocked",
    "unevictable_pgs_cleared",
    "unevictable_pgs_stranded",
    "thp_fault_alloc",
    "thp_fault_fallback",
    "thp_fault_fallback_charge",
    "thp_collapse_alloc",
    "thp_collapse_alloc_failed",
    "thp_file_alloc",
    "thp_file_fallback",
    "thp_file_fallback_charge",
    "thp_file_mapped",
    "thp_split_page",
    "thp_split_page_failed",
    "thp_deferred_split_page",
    "thp_split_pmd",
    "thp_scan_exceed_none_pte",
    "thp_scan_exceed_swap_pte",
    "thp_scan_exceed_share_pte",
    "thp_split_pud",
    "thp_zero_page_alloc",
    "thp_zero_page_alloc_failed",
    "thp_swpout",
    "thp_swpout_fallback",
    "balloon_inflate",
    "balloon_deflate",
    "balloon_migrate",
    "swap_ra",
    "swap_ra_hit",
    "ksm_swpin_copy",
    "cow_ksm",
    "zswpin",
    "zswpout",
    "direct_map_level2_splits",
    "direct_map_level3_splits",
)
