"""Faults and address spaces: what a process waits for when it touches, maps and unmaps memory."""
