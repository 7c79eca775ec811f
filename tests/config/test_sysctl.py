"""The table of tunables: defaults, ranges, settings, recorded listings."""

from pathlib import Path

import attrs
import pytest

from kernelsim.config.proc_text import parse_sysctl
from kernelsim.config.sysctl import SYSCTLS, Sysctl
from kernelsim.config.sysctl_write import (
    parse_setting,
    parse_value,
    sysctl_from_text,
    sysctl_text,
    with_settings,
    write_sysctl,
    write_sysctls,
)
from kernelsim.errors import ConfigError

CASES = Path(__file__).parent.parent / "oracle" / "cases"
COMPUTED = ("vm.min_free_kbytes", "vm.user_reserve_kbytes", "vm.admin_reserve_kbytes")


def test_defaults_are_those_of_a_recorded_kernel() -> None:
    """Every key a 6.1 kernel printed is in the table, and what it printed is our default."""
    printed = parse_sysctl(CASES / "s01" / "before" / "sysctl_vm.txt")
    del printed["uptime"]

    assert set() == printed.keys() - SYSCTLS.keys()
    for name, text in printed.items():
        if name not in COMPUTED:
            entry = SYSCTLS[name]
            assert (name, text) == (name, sysctl_text(entry, getattr(Sysctl(), entry.attribute)))


def test_a_recorded_listing_is_taken_over() -> None:
    """Values of a listing land in their attributes, computed ones too."""
    sysctl = sysctl_from_text(parse_sysctl(CASES / "s05" / "before" / "sysctl_vm.txt"))

    assert (3711, (256, 32, 0, 0)) == (sysctl.vm_min_free_kbytes, sysctl.vm_lowmem_reserve_ratio)


def test_a_setting_is_parsed_by_the_table() -> None:
    """`--set` gives key and typed value."""
    assert ("vm.swappiness", 10) == parse_setting("vm.swappiness=10")
    assert ("vm.lowmem_reserve_ratio", (1, 2)) == parse_setting("vm.lowmem_reserve_ratio=1 2")


@pytest.mark.mission("B5")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("vm.swappiness", ("--set = 'vm.swappiness': must have the form KEY=VALUE, as"
         " vm.swappiness=10")),
        ("vm.swapines=1", "vm.swapines = '1': no such sysctl; did you mean vm.swappiness?"),
        ("vm.swappiness=201", ("vm.swappiness = '201': must be a whole number from 0 to 200"
         " (weight)")),
        ("vm.swappiness=-1", ("vm.swappiness = '-1': must be a whole number from 0 to 200"
         " (weight)")),
        ("vm.swappiness=six", ("vm.swappiness = 'six': must be a whole number from 0 to 200"
         " (weight)")),
        ("vm.lowmem_reserve_ratio=", ("vm.lowmem_reserve_ratio = '': must be 1 to 5 numbers, one"
         " a zone, lowest zone first")),
        ("vm.percpu_pagelist_high_fraction=7", ("vm.percpu_pagelist_high_fraction = '7': must be 0"
         " or at least 8")),
        ("vm.swappiness=08", ("vm.swappiness = '08': must be a whole number from 0 to 200"
         " (weight)")),
        (
            "lru_gen.enabled=yes",
            "lru_gen.enabled = 'yes': must be a whole number from 0 to 4294967295 (bits)",
        ),
        (
            "transparent_hugepage.enabled=always",
            "transparent_hugepage.enabled = 'always': must be always madvise [never]",
        ),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_told_in_one_line(text: str, message: str) -> None:
    """Key, value and rule."""
    with pytest.raises(ConfigError) as caught:
        parse_setting(text)

    assert message == str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"), [("0x10", 16), ("010", 8), ("0", 0), ("00", 0), ("100", 100)]
)
def test_numbers_are_written_as_the_kernel_reads_them(text: str, value: int) -> None:
    """Hexadecimal and octal as in C."""
    assert value == parse_value("vm.swappiness", text)


def test_a_number_of_very_many_digits_is_out_of_range() -> None:
    """It is told like any other, not by Python."""
    with pytest.raises(ConfigError, match="must be a whole number from 0 to 200"):
        parse_value("vm.swappiness", "9" * 5000)


def test_a_write_to_a_list_leaves_its_other_numbers() -> None:
    """As many as are written, from the first on; a ratio below 1 keeps nothing."""
    once = write_sysctl(Sysctl(), "vm.lowmem_reserve_ratio", "-5 7")
    assert (0, 7, 32, 0, 0) == once.vm_lowmem_reserve_ratio


def test_writes_take_effect_in_their_order() -> None:
    """Of overcommit_ratio and overcommit_kbytes the last one written counts, whatever it is."""
    ratio, kbytes = "vm.overcommit_ratio", "vm.overcommit_kbytes"
    first = write_sysctls(Sysctl(), {ratio: 70, kbytes: 0})
    assert (0, 0) == (first.vm_overcommit_ratio, first.vm_overcommit_kbytes)
    last = write_sysctls(Sysctl(), {kbytes: 900, ratio: 70})
    assert (70, 0) == (last.vm_overcommit_ratio, last.vm_overcommit_kbytes)
    # What a machine boots with is no series of writes.
    state = with_settings(Sysctl(), {ratio: 70, kbytes: 0})
    assert (70, 0) == (state.vm_overcommit_ratio, state.vm_overcommit_kbytes)


def test_a_bool_is_no_number() -> None:
    """TOML's true is refused where a number is due."""
    with pytest.raises(ConfigError):
        parse_value("vm.swappiness", value=True)


def test_bytes_and_ratio_exclude_each_other() -> None:
    """Writing dirty_bytes clears dirty_ratio, and back."""
    in_bytes = with_settings(Sysctl(), {"vm.dirty_bytes": 4096})
    back = with_settings(in_bytes, {"vm.dirty_ratio": 30})

    assert (0, 4096) == (in_bytes.vm_dirty_ratio, in_bytes.vm_dirty_bytes)
    assert (30, 0) == (back.vm_dirty_ratio, back.vm_dirty_bytes)


def test_every_key_has_a_unit_and_a_meaning() -> None:
    """The table documents itself; attribute names follow from the keys."""
    for name, entry in SYSCTLS.items():
        assert entry.attribute == name.replace(".", "_").replace("-", "_")
        assert entry.doc
        assert entry.unit or entry.words
    assert len(SYSCTLS) == len(attrs.fields(Sysctl))
