"""DIMMs that a portable script puts in and takes out: which lines are refused."""

import pytest

from kernelsim.errors import WorkloadError
from kernelsim.workload.script.host import check_host
from kernelsim.workload.script.script import parse_script

MEMORY = "host object_add memory-backend-ram,id=m,size=128M\n"
DIMM = "host device_add pc-dimm,id=d,memdev=m"


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        (f"{DIMM},slot=1", "has 'slot'; known are id, memdev, node, addr"),
        (f"{DIMM},addr=high", "must have an address such as 0x100000000"),
        (f"{DIMM},node=-1", "must have a number for its node"),
        (f"{DIMM}\n{DIMM}", "has the id of a line before"),
        (MEMORY, "has the id of a line before"),
        ("host device_del d", "names no DIMM that a line before puts in"),
    ],
)
def test_a_line_that_cannot_be_is_refused(line: str, rule: str) -> None:
    """One line with file, place and rule; nothing has run yet."""
    script = parse_script(MEMORY + line, "s.txt")
    with pytest.raises(WorkloadError) as caught:
        check_host(script)
    place = 2 + line.rstrip().count("\n")
    assert str(caught.value) == f"s.txt:{place}: {line.splitlines()[-1]!r} {rule}"


def test_a_dimm_that_was_asked_to_leave_may_come_again() -> None:
    """Whether it has left is known when the script runs."""
    lines = (MEMORY + DIMM, "host device_del d", f"{DIMM},node=0,addr=0x100000000")
    check_host(parse_script("\n".join((*lines, "host device_del d"))))
