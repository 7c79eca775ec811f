"""Random runs that look for bugs of ours, and the cutting down of those that find one.

plan.py     a run as plain data: a portable script, a machine file, faults
draw.py     one seed draws a plan: draw_machine.py the machine, draw_mix.py processes and faults,
            draw_files.py processes that work on files, all for a draw_site.py
program.py faults.py     what a plan's processes do, and what goes wrong meanwhile
run.py digest.py     load with all invariants checked, then calm; how it failed
calm.py accounts.py  what must be true in the calm
probes.py   which rare paths a campaign reached
shrink.py   a small plan that still fails
worker.py campaign.py    many runs on all cores
"""
