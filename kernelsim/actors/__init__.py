"""What waits: one actor a file, each a task with a mailbox in virtual time.

Actors own state and call the plain functions of `mm` and `hw`; contention appears because they
queue for each other. Read a file from the top: what it hears (messages), what it knows (state),
what it does (the actor). After every `await`, shared state may have changed. The rooms, each
importing only from those before it:

    messages/  what actors say to each other, one file a receiver
    parts/     the hardware: CPUs, nodes, the interconnect, disks
    core/      what all share: the machine's state, tasks, tunables
    reclaim/   freeing pages, as kswapd and as a task in need
    alloc/     asking for pages, and what to do when there are none
    file/      reading and writing files through the page cache, writing back, dropping
    space/     faults, and making and tearing down address spaces
    hotplug/   memory that comes and goes: blocks online and offline, DIMMs
    process/   the process and its operations

The map (`python -m tools.actor_map` prints it; a test compares). A message is heard by one kind of
actor. It comes from the files that make it; these run in the time of the actors that use them, so
an actor tells, or asks, all those that its own code and the code it calls make messages for.

    net_device (alloc/net_device.py)
        owns  the pages of packets that nobody has read; its counters
        hears Consume Receive
        from  workload/net_device
        tells block_device blocks cpu interconnect kswapd memory_hotplug node oom_killer
    oom_killer (alloc/oom_killer.py)
        owns  the choice of a victim
        hears OutOfMemory
        from  alloc/page_allocator reclaim/lru_gen
        tells oom_reaper process
    workqueue (core/workqueue.py)
        owns  nothing of its own; a worker runs what it is asked to on its CPU
        hears no message
        from  nobody
        tells cpu
    flusher (file/flusher.py)
        owns  the disk's queues of dirty files while it runs, as under wb->list_lock
        hears no message
        from  nobody
        tells block_device cpu node
    pdflush (file/pdflush.py)
        owns  nothing of its own; the queues of dirty files are the disks'
        hears no message
        from  nobody
        tells block_device blocks cpu interconnect kernel_space kswapd memory_hotplug node
              oom_killer
    acpi (hotplug/acpi.py)
        owns  the DIMMs that have come, and the pages of their struct pages
        hears AddDimm RemoveDimm
        from  workload/dimm
        tells block_device cpu kswapd memory_hotplug node oom_killer
    memory_hotplug (hotplug/memory_hotplug.py)
        owns  the states of memory blocks, and which zone each is in
        hears IsolateMovable PutbackMovable StateStore
        from  core/migrate_pages hotplug/acpi hotplug/migrate_range process/calls/sysfs
        tells block_device cpu interconnect kswapd node oom_killer
    block_device (parts/block_device.py)
        owns  its queue, the accounts of its writers, its statistics
        hears DataMoved SubmitBio
        from  core/writepages file/page_io parts/dma process/calls/swapping reclaim/swap_writes
              space/swap_read
        tells node
    cpu (parts/cpu.py)
        owns  its TLB, its run queue, its account of time
        hears Deschedule FlushKernelTlb FlushTlb Schedule
        from  core/task core/tlb_flush space/kernel_space
        tells no other
    dma (parts/dma.py)
        owns  nothing; requests whose data has yet to move wait in its mailbox
        hears no message
        from  nobody
        tells block_device interconnect node
    interconnect (parts/interconnect.py)
        owns  the links and the buses
        hears Transfer
        from  core/memory_access parts/dma
        tells no other
    node (parts/node.py)
        owns  its zones with their free lists, the per-CPU lists of these zones, its LRU lists, its
              memory controller
        hears AllocPages BeginSwapRead DrainPages EndPageRead EndPageWrite EndSwapRead EndSwapWrite
              FreePages IncMaxSeq IsolateLru IsolateMapped IsolateOldest LazyfreeFolios LruActivate
              LruAddDrain MemoryTraffic MigrateFolios MlockFolios PutbackFolios PutbackInactive
              PutbackMapped PutbackOldest ReleasePages ResetBatchSize ShrinkActive
        from  alloc/page_allocator core/free_pages core/lru_add core/memory_access core/writepages
              file/page_io parts/dma reclaim/compact_zone reclaim/lru_gen reclaim/reclaim
              reclaim/swap_writes reclaim/zram_io space/lazy_free space/migrate space/mlock
              space/swap_read
        tells no other
    process (process/process.py)
        owns  its address space and its entry of the process table
        hears Brk Close CompactMemory DropCaches Execve Exit Fadvise Fdatasync Fork Fstat Fsync
              Ftruncate GetMempolicy Madvise Mbind MigratePages Mincore MincoreRange Mlock Mlock2
              Mlockall MlockallFlags Mmap MovePages Mprotect Mremap Msync Munlock Munlockall Munmap
              Open Read Report SetMempolicy SetMempolicyHomeNode Setrlimit Sigaction Sleep
              StartImage StartPrinting StatRefresh Swapoff Swapon Sync SyncFileRange TakeSignal
              Touch TouchPages Wait4 Write WriteSysfs
        from  core/signal workload/handle
        tells block_device blocks cpu fault_handler interconnect kernel_space kswapd memory_hotplug
              node oom_killer
    kcompactd (reclaim/kcompactd.py)
        owns  its run over the node; what it is asked for is shared with those who ask
              (`KcompactdState`)
        hears WakeUp
        from  core/compaction
        tells block_device blocks cpu interconnect memory_hotplug node oom_killer
    kswapd (reclaim/kswapd.py)
        owns  its run over the node; what it is asked for is shared with those who ask
              (`KswapdState`)
        hears WakeUp
        from  alloc/wakeup_kswapd
        tells block_device cpu node oom_killer
    fault_handler (space/fault_handler.py)
        owns  swap readahead states of its areas; with its process, the page tables, as under
              mmap_lock
        hears PageFault
        from  space/accesses
        tells block_device blocks cpu interconnect kswapd memory_hotplug node oom_killer
    kdamond (space/kdamond.py)
        owns  the regions of its targets
        hears no message
        from  nobody
        tells block_device blocks cpu interconnect kernel_space kswapd memory_hotplug node
              oom_killer
    kernel_space (space/kernel_space.py)
        owns  which addresses of vmalloc are taken, and which slots of kmap
        hears AllocVmapArea FreeVmapArea KmapHigh KunmapHigh WaitForPkmap
        from  alloc/vmalloc space/highmem
        tells cpu
    kernel_thread (space/kernel_thread.py)
        owns  its stack; what it allocates belongs to who asked
        hears AllocKernelBlock AllocKernelPages CopyHighpage FreeKernelBlock FreeKernelPages Kmap
              Kunmap StopThread Vfree Vmalloc
        from  workload/kernel_thread
        tells block_device blocks cpu interconnect kernel_space kswapd memory_hotplug node
              oom_killer
    oom_reaper (space/oom_reaper.py)
        owns  the victims it is to look at
        hears ReapLater
        from  alloc/oom_killer
        tells block_device blocks cpu interconnect kswapd memory_hotplug node oom_killer
"""
