"""Reclaim in virtual time: `reclaim.py` is one task that frees pages, `kswapd.py` the daemon."""
