"""The hardware of a machine: CPUs, memory nodes, the links between them, disks."""
