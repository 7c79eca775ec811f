"""Swap: slots on a device, the cache in front of them, and what to read ahead."""
