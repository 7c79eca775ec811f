"""DIMMs that a portable script puts in and takes out: which lines are refused, what they do."""

from pathlib import Path

import pytest

from kernelsim.config.machine_file import machine_from_toml
from kernelsim.errors import WorkloadError
from kernelsim.machine import Machine
from kernelsim.workload.machine import MachineHandle
from kernelsim.workload.script.host import check_host
from kernelsim.workload.script.run import script_workload
from kernelsim.workload.script.script import parse_script

MEMORY = "host object_add memory-backend-ram,id=m,size=128M\n"
NODE = {"cpus": "0", "memory": "8M"}
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


def test_the_script_goes_on_while_a_dimm_is_asked_to_leave(tmp_path: Path) -> None:
    """What the next line runs has page tables in the DIMM, which cannot leave; alone it does."""
    path = tmp_path / "s.txt"
    state = "memhog poke:/sys/devices/system/memory/memory32/state:online_kernel"
    leave = "host device_del d"
    path.write_text("\n".join((MEMORY + DIMM, state, leave, "sleep 1", leave)))
    lines: list[str] = []
    spec = machine_from_toml({"name": "m", "maxmem": "136M", "node": [NODE]})
    machine = Machine(spec)
    handle = MachineHandle(machine, on_line=lines.append)
    handle.run(script_workload(path).function)
    assert [line for line in lines if line.startswith(("ack", "d "))] == [
        *["ack: OK"] * 3,
        "d stays",
        "ack: OK",
    ]
    assert handle.dimms.places == {}
    assert "memory memory32: Offline failed." in handle.dmesg
