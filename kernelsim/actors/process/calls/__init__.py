"""The system calls of a process, and its accesses to memory: one file a family.

    call.py     what an entry of the table says, and the table
    caller.py   what a handler works with: the process that makes the call
    effect.py   what a call does to the content of memory, as the program is told
    mapping.py protecting.py advising.py locking.py forking.py access.py life.py …   the families
    table.py    puts the families together

A call is one entry: the value that asks for it, its handler, the errnos it may answer with, its
effect on content, and how scripts and the workload API spell it. The process's actor, the handle
of a process, the steps of scripts and the record of the checker read the table, so a new call is
one entry in a family, or a new file and one line in table.py.
"""
