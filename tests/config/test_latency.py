"""Tests of the costs: each one that a machine file may set is charged somewhere."""

import re
from pathlib import Path

import attrs
import pytest

from kernelsim.config.disks import BlockDeviceSpec
from kernelsim.config.latency import LatencySpec

PACKAGE = Path(__file__).parents[2] / "kernelsim"
DESCRIBES = {"config", "cli", "report"}  # what only hands a value on


@pytest.fixture(scope="module")
def sources():
    """The text of everything that a value can have an effect in."""
    paths = [
        path
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.relative_to(PACKAGE).parts[0] not in DESCRIBES
    ]
    return (
        "".join(path.read_text() for path in paths)
        + ((PACKAGE / "config" / "latency.py").read_text().partition("def has_bus")[2])
    )


@pytest.mark.parametrize("spec", [LatencySpec, BlockDeviceSpec])
def test_no_field_of_a_machine_file_is_without_effect(spec, sources):
    """What a user may set changes something: the model reads every field."""
    idle = {
        field.name for field in attrs.fields(spec) if not re.search(rf"\.{field.name}\b", sources)
    }
    assert idle == set()
