"""Asking nodes for pages, freeing some first when there are too few, and the last resort."""
