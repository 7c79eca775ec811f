"""The report of a run: one HTML file that opens without a network.

In reading order: record.py reads a run's directory, story.py says in sentences what happened,
drawing.py is what all pictures share, mosaic.py what those of many rows share; memory.py,
memory_map.py, activity.py, states.py and processes.py draw the panels, marks.py what goes through
all of them; page.py puts them into page.html with page.css and page.js.
"""
