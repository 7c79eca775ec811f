"""Draw a whole plan from one seed.

    plan = draw_plan(seed=1, run=17)

Swarm testing: each run switches whole features on or off and gives the rest wild weights, so that
paths are reached that a mix of everything hides.

Interface: `draw_plan`; `WANTED_KINDS` of processes that a user may ask for.
Source: A. Groce et al., "Swarm testing", ISSTA 2012
"""

from collections.abc import Collection
from typing import Final

from kernelsim.config.era import CLASSIC
from kernelsim.config.machine import MachineSpec
from kernelsim.explore.draw_hotplug import (
    HOTPLUG_CHANCE,
    HOTPLUGGER,
    draw_hotplug,
    draw_slots,
)
from kernelsim.explore.draw_machine import draw_machine
from kernelsim.explore.draw_mix import (
    FORKER,
    KINDS,
    draw_faults,
    draw_forker,
    draw_kinds,
    draw_script,
)
from kernelsim.explore.draw_more import MORE_KINDS, draw_more
from kernelsim.explore.draw_site import Site
from kernelsim.explore.plan import POWER_CUT, Fault, Plan
from kernelsim.sim.rng import Rng
from kernelsim.workload.script.script import Memhog, parse_script

LOAD_EVENTS: Final = (5000, 5000, 5000, 20_000)  # half of the runs end by themselves before
CUT_EVENTS: Final = (300, 1000, 3000)  # of some: nearly all are killed in the middle
CHECK_EVENTS: Final = (200, 500, 1000, 3000)
POWER_CUT_CHANCE: Final = 15  # in one run of so many
HOT_CHECK_EVENTS: Final = 1000  # at least: a look takes long where frames go up to 4 GiB
WANTED_KINDS: Final = (*KINDS, FORKER, *MORE_KINDS, HOTPLUGGER)  # that a user may ask for
BURSTS: Final = (512,) * 6 + (64, 7, 1)


def draw_plan(seed: int, run: int, wanted: Collection[str] = ()) -> Plan:
    """Return run number `run` of a campaign: the same for the same arguments.

    Args:
        seed: Of the campaign.
        run: Number of the run.
        wanted: Of WANTED_KINDS, those that are there for certain.
    """
    hotplug = Rng(seed, f"stress/{run}/hotplug")
    is_hot = hotplug.chance(1, HOTPLUG_CHANCE) or HOTPLUGGER in wanted
    rng = Rng(seed, f"stress/{run}/machine")
    table, spec = draw_machine(rng, draw_slots if is_hot else None)
    rng = Rng(seed, f"stress/{run}/mix")
    site = _site_of(spec)
    script = draw_script(rng, site, draw_kinds(rng))
    commands = parse_script("\n".join(script)).commands
    names = [command.name for command in commands if isinstance(command, Memhog)]
    rng = Rng(seed, f"stress/{run}/run")
    load_events = rng.choice(CUT_EVENTS) if rng.chance(1, 12) else rng.choice(LOAD_EVENTS)
    faults = draw_faults(
        rng,
        names,
        [device.name for device in spec.devices],
        nr_cpus=spec.nr_cpus,
        events=load_events // 2,
    )
    power = Rng(seed, f"stress/{run}/power")  # its own, so that the other draws stay as they were
    if power.chance(1, POWER_CUT_CHANCE):
        event = power.below(load_events // 2 >> power.below(6))
        faults.append(Fault(kind=POWER_CUT, target="machine", event=event))
    more, kills = draw_more(seed, run, site, events=load_events // 2, wanted=wanted)
    faults += kills
    rng_of_forker = Rng(seed, f"stress/{run}/forker")
    forker = draw_forker(rng_of_forker, site, is_wanted=FORKER in wanted)
    script[-1:-1] = [*forker, *more]  # then all wait
    if is_hot:
        before, among, after = draw_hotplug(hotplug, site, spec)
        script = [*before, *script[:-1], *among, *after, script[-1]]
    return Plan(
        name=f"seed {seed} run {run}",
        seed=rng.bits(31),
        schedule_seed=rng.bits(31) if rng.chance(1, 2) else None,
        burst_pages=rng.choice(BURSTS),
        check_every=max(rng.choice(CHECK_EVENTS), HOT_CHECK_EVENTS * is_hot),
        observe=rng.chance(7, 8) or any(fault.kind == POWER_CUT for fault in faults),
        load_events=load_events,
        script=tuple(script),
        fault=tuple(faults),
        machine=table,
    )


def _site_of(spec: MachineSpec) -> Site:
    return Site(
        nr_cpus=spec.nr_cpus,
        with_memory=tuple(node.nid for node in spec.nodes if node.managed_pages),
        is_classic=spec.era is CLASSIC,
        memory_pages=sum(node.managed_pages for node in spec.nodes),
        files=tuple(file.path for file in spec.files),
        swap_pages=sum(swap.nr_slots for swap in spec.swaps),
    )
