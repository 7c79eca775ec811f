"""What differs between eras, and how a machine file chooses one."""

import attrs
import pytest

from kernelsim.config.era import CLASSIC, ERAS, LINUX_6_1, Era
from kernelsim.config.machine import MachineSpec
from kernelsim.config.machine_file import machine_from_toml, machine_text
from kernelsim.config.sysctl import SYSCTLS
from kernelsim.config.toml_text import read_toml
from kernelsim.errors import ConfigError
from kernelsim.mm.core.mem import Z_WMARK_HIGH, Z_WMARK_LOW, Z_WMARK_MIN
from kernelsim.report.machine_run import run_machine
from kernelsim.report.run_options import RunOptions
from kernelsim.workload.api import Workload
from tests.house_rules import sources
from tests.small_machine import OpenMachine, opened, run


def machine_of(era: str, **sysctl: object) -> MachineSpec:
    """Describe a machine of an era."""
    node = {"cpus": "0", "memory": "64M"}
    return machine_from_toml({"name": "m", "era": era, "node": [node], "sysctl": sysctl})


def test_an_era_is_chosen_by_name_and_written_by_name(tmp_path) -> None:
    """Without a choice it is 6.1; what is written is read back as the same machine."""
    node = {"cpus": "0", "memory": "64M"}
    assert LINUX_6_1 is machine_from_toml({"name": "m", "node": [node]}).era
    for name, era in ERAS.items():
        machine = machine_of(name)
        path = tmp_path / f"{name}.toml"
        path.write_text(machine_text(machine))
        assert era is machine.era
        assert machine == machine_from_toml(read_toml(path))


def test_swappiness_ends_at_100_in_classic_kernels() -> None:
    """In a machine file, as a setting of the run and when written; 6.1 takes 200."""

    async def main(machine: OpenMachine) -> None:
        top = machine.sysctl("vm.swappiness", 200 if machine.spec.era is LINUX_6_1 else 100)
        with pytest.raises(ConfigError, match=f"from 0 to {top} "):
            machine.sysctl("vm.swappiness", top + 1)
        assert machine.sysctl("vm.swappiness") == top

    for name in ERAS:
        run(machine_of(name), main)
    assert machine_of("6.1", **{"vm.swappiness": 101}).sysctl.vm_swappiness == 101
    with pytest.raises(ConfigError) as in_file:
        machine_of("classic", **{"vm.swappiness": 101})
    rule = "must be a whole number from 0 to 100 (weight)"
    assert f"sysctl.vm.swappiness = 101: {rule} in the era classic" == str(in_file.value)
    workload = Workload(opened(main), "machine", machine_of("classic"))
    with pytest.raises(ConfigError) as in_setting:
        run_machine(workload, RunOptions(settings=("vm.swappiness=101",)), name="w.py")
    assert f"vm.swappiness = 101: {rule}" == str(in_setting.value)


@pytest.mark.mission("P16")
def test_a_running_classic_machine_has_its_watermarks() -> None:
    """Min * 5/4 and min * 3/2, whatever the scale factor; it stays so when it is written."""

    async def main(machine: OpenMachine) -> None:
        marks = [Z_WMARK_MIN, Z_WMARK_LOW, Z_WMARK_HIGH]
        for factor in (10, 1000):
            machine.sysctl("vm.watermark_scale_factor", factor)
            for low, middle, high in machine.mem.zone[:, marks].tolist():
                assert [low + (low >> 2), low + (low >> 1)] == [middle, high] or low == 32

    run(machine_of("classic"), main)


def test_every_difference_has_an_effect() -> None:
    """Each field of an era is read somewhere beside the file that defines it."""
    read = "\n".join(
        source.text for source in sources("kernelsim") if source.path != "kernelsim/config/era.py"
    )
    assert [] == [field.name for field in attrs.fields(Era) if f"era.{field.name}" not in read]
    assert CLASSIC.sysctl_maximum.keys() <= SYSCTLS.keys()
