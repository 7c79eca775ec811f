"""The command line, one file a command; `main.py` maps outcomes to exit statuses.

Commands are imported when they are called, so that `--help` stays quick.
Exit status: 0 done, 1 a check failed, 2 wrong use or bad input, 3 a bug of ours.
"""
