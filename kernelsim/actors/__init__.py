"""What waits: one actor a file, each a task with a mailbox in virtual time.

Actors own state and call the plain functions of `mm` and `hw`; contention appears because they
queue for each other. Read a file from the top: what it hears (messages), what it knows (state),
what it does (the actor). After every `await`, shared state may have changed. The rooms, each
importing only from those before it:

    messages/  what actors say to each other, by who hears it
    parts/     the hardware: CPUs, nodes, the interconnect, disks
    core/      what all share: the machine's state, tasks, tunables
    reclaim/   freeing pages, as kswapd and as a task in need
    alloc/     asking for pages, and what to do when there are none
    space/     faults, and making and tearing down address spaces
    process/   the process and its operations
"""
