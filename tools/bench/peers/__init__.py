"""The same small systems in other engines, each written as its own guide would have it.

One file an engine; a function a system, named as ours in `bench_engine.py`. Each runs a number of
operations and checks at its end that it did what it should. Tasks that sleep sleep for different
times, as in a simulation: a clock that wakes several at once wins nothing by it.
"""

from typing import Final

SLEEP: Final = 7  # of the first task, in the engine's unit; the next sleeps 1 longer, and so on
