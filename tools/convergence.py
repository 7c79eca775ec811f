"""Do bursts leave what messages leave? Random plans of `stress`, each run both ways and compared.

    python -m tools.convergence --runs 200 --in-order

A burst is a speed-up, so each counter of /proc/vmstat, each kind of event in the log but for those
that are told by the burst, the number of the engine's steps and the time of the end are the same
whether each page goes by messages (`burst_pages` of 1) or not. Prints each plan for which one is
not, how far they are apart, and the distribution.
A schedule seed draws which of two events that are due at once is first; two messages to one actor
then are served as they came, which a burst does not imitate: plans with such a seed may differ, and
`--in-order` runs all plans without one.

Interface: `compare` for one plan; `main` for the command. Units: ns.
"""

import argparse
from collections import Counter
from typing import Final

import attrs

from kernelsim.explore.draw import draw_plan
from kernelsim.explore.plan import Plan
from kernelsim.explore.run import Result, run_plan

BY_BURST: Final = frozenset({"ks_fault", "page_fault_user"})  # one event a burst, one a page
BURST_PAGES: Final = 512
STEPS: Final = (0.1, 0.01, 0.001, 0)


@attrs.frozen
class Distance:
    """How far two runs of one plan are apart.

    Attributes:
        counts: Of each counter that differs: by messages, and by bursts.
        virtual_ns: When they ended.
        nr_events: Steps of the engine.
        states: How they ended.
    """

    counts: dict[str, tuple[int, int]]
    virtual_ns: tuple[int, int]
    nr_events: tuple[int, int]
    states: tuple[str, str]

    @property
    def is_none(self) -> bool:
        """Whether nothing differs."""
        pairs = (self.virtual_ns, self.nr_events, self.states)
        return not self.counts and all(one == other for one, other in pairs)

    @property
    def relative(self) -> float:
        """The largest difference of a counter or of the time, in parts of the larger value."""
        pairs = [*self.counts.values(), self.virtual_ns]
        return max(abs(one - other) / max(one, other, 1) for one, other in pairs)


def compare(plan: Plan) -> Distance:
    """Run a plan by messages and by bursts."""
    by_messages, by_bursts = (
        run_plan(attrs.evolve(plan, burst_pages=pages)) for pages in (1, BURST_PAGES)
    )
    return distance(by_messages, by_bursts)


def distance(one: Result, other: Result) -> Distance:
    """Return how far two runs are apart."""
    names = sorted((one.counts.keys() | other.counts.keys()) - BY_BURST)
    pairs = {name: (one.counts.get(name, 0), other.counts.get(name, 0)) for name in names}
    return Distance(
        counts={name: pair for name, pair in pairs.items() if pair[0] != pair[1]},
        virtual_ns=(one.virtual_ns, other.virtual_ns),
        nr_events=(one.nr_events, other.nr_events),
        states=(one.state, other.state),
    )


def main() -> None:
    """Compare the plans of a campaign."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--in-order", action="store_true")
    options = parser.parse_args()
    found: Counter[str] = Counter()
    for run in range(options.first, options.first + options.runs):
        plan = draw_plan(options.seed, run)
        if options.in_order:
            plan = attrs.evolve(plan, schedule_seed=None)
        apart = compare(plan)
        if apart.is_none:
            found["identical"] += 1
            continue
        found[next(f"{least:g} or more" for least in STEPS if apart.relative >= least)] += 1
        print(f"run {run}: {apart.relative:.2g} apart", apart)
    for name, nr in found.most_common():
        print(f"{nr:5} {name}")


if __name__ == "__main__":
    main()
