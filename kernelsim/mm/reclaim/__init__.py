"""Reclaim: how much to scan of which list, what to do with each page, and whom to kill.

To read in this order: `vmscan.py` (how much), `vmscan_list.py` (taking pages off their lists),
`vmscan_folio.py` (what becomes of each), `vmscan_balance.py` (when to go on, wait or stop),
`oom_kill.py` (the last resort).
"""
