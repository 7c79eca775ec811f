"""A run watched while it goes on: a screen with keys, and metrics for Prometheus.

What is shown is a frozen `View`, taken between two events; watching changes nothing in the run, it
only holds it up. Clocks and threads here are those of the person who watches.
"""
