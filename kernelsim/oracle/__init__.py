"""Recorded cases of a real kernel: build the machine, run the script, compare row by row.

`case_run.py` runs a case with the runner of workload/script/, `recording_files.py` writes what came
out as a recording has it, `compare_rows.py` and `compare.py` hold it against the recording. Above
`report`, because a run of a case leaves files as every run does.
Programs of system calls, whose answers were recorded step by step, are another kind of case:
vmaprog.py runs families of them and compares.
"""
