"""Texts of /proc and /sys, exact to the space: pure functions of a snapshot.

Real programs read what is rendered here, so each line is tested against recorded files.
"""
