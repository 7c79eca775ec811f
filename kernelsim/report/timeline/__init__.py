"""A run as a timeline for the Perfetto UI: a track an actor, slices for what it did or waited for.

In reading order: slices.py makes slices of events, nesting.py makes those of one track fit into
each other, perfetto.py writes them, with the sampled counters, as Perfetto's protobuf.
"""
