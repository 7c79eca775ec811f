"""Recorded cases of a real kernel: build the machine, run the script, compare row by row.

`case_run.py` runs a case, `script_process.py` the steps of its processes, `script_run.py` collects
what they report, `compare_rows.py` and `compare.py` hold it against the recording. Above `report`,
because a run of a case leaves files as every run does.
"""
