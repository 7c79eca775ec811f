"""Many runs: random ones that look for bugs of ours, and sweeps that ask what if.

plan.py     a run as plain data: a portable script, a machine file, faults
draw.py     one seed draws a plan: draw_machine.py the machine, draw_mix.py processes and faults,
            draw_files.py processes that work on files, draw_more.py kinds that came later,
            draw_hotplug.py memory that comes and goes, all for a draw_site.py
program.py faults.py     what a plan's processes do, and what goes wrong meanwhile
run.py digest.py     load with all invariants checked, then calm; how it failed
calm.py accounts.py  what must be true in the calm
probes.py   which rare paths a campaign reached
shrink.py   a small plan that still fails
pool.py worker.py campaign.py    many runs on all cores
sweep_grid.py sweep_run.py sweep.py    a grid of settings and seeds; one run of it; all of them
sweep_table.py sweep_picture.py        what came out
"""
