"""Reclaim: how much to scan of which list, what to do with each page, and whom to kill.

To read in this order: `scan_control.py` (what a reclaimer is after), `vmscan.py` (how much it
scans), `vmscan_list.py` (taking pages off their lists), `vmscan_folio.py` (what becomes of each),
`reclaim_run.py` (these steps of a batch in one go), `vmscan_kswapd.py` and `vmscan_direct.py` (when
to go on and stop), `vmscan_throttle.py` (when to sleep), `oom_kill.py` (the last resort).
"""
