"""Tests of the machine file that explains itself."""

import itertools
import re
import tomllib

import attrs
import pytest

from kernelsim.config.latency import LatencySpec
from kernelsim.config.machine_example import example_text
from kernelsim.config.machine_file import machine_from_toml
from kernelsim.config.machine_form import DeviceToml, MachineToml, NodeToml, SwapToml
from kernelsim.config.sysctl import SYSCTLS

COMPUTED = [entry.attribute for entry in SYSCTLS.values() if entry.default is None]


def uncommented() -> str:
    """Return the example with all its defaults put in force."""
    return re.sub("^#(?! )", "", example_text(), flags=re.MULTILINE)


def test_the_example_is_a_machine() -> None:
    """It is read as it is: two CPUs, half a gigabyte, a disk with swap."""
    machine = machine_from_toml(tomllib.loads(example_text()))

    assert ("my-machine", 2, 1) == (machine.name, machine.nr_cpus, len(machine.nodes))
    assert [("/dev/sda", 1 << 30)] == [(swap.name, swap.size_bytes) for swap in machine.swaps]


def test_what_is_commented_out_are_the_defaults() -> None:
    """Put in force they change nothing, but for the tunables the kernel computes."""
    plain = machine_from_toml(tomllib.loads(example_text()))
    full = machine_from_toml(tomllib.loads(uncommented()))

    assert 3 == len(COMPUTED)
    computed = attrs.evolve(full.sysctl, **dict.fromkeys(COMPUTED))
    assert plain == attrs.evolve(full, sysctl=computed)


@pytest.mark.parametrize(
    ("table", "cls"),
    [("node", NodeToml), ("device", DeviceToml), ("swap", SwapToml), ("latency", LatencySpec)],
)
def test_every_key_of_a_table_is_there(table: str, cls: type) -> None:
    """In the order of the class."""
    found = tomllib.loads(uncommented())[table]
    keys = list(found if isinstance(found, dict) else found[0])

    assert [field.name for field in attrs.fields(cls)] == keys


def test_every_key_of_the_machine_is_there() -> None:
    """Tables and plain keys; and every tunable, which TOML reads as a table in a table."""
    found = tomllib.loads(uncommented())

    assert {field.name for field in attrs.fields(MachineToml)} == set(found)
    keys = {f"{first}.{rest}" for first, table in found["sysctl"].items() for rest in table}
    assert set(SYSCTLS) == keys


def test_every_key_is_explained() -> None:
    """A comment stands above each, no line is longer than a screen."""
    lines = example_text().splitlines()
    for before, line in itertools.pairwise(lines):
        if re.match("#?[a-z]", line):
            assert before.startswith("# "), line
    assert 100 >= max(map(len, lines))
