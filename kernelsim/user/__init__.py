"""What lives in user space above the system calls: plain functions, no waiting. Rank 5."""
