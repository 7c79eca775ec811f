"""Tests of the prints of memory blocks that a portable script leaves out."""

import pytest

from kernelsim.oracle.block_prints import with_block_prints
from kernelsim.workload.script.script import ShowBlocks, parse_script

SHOW = (
    "for b in /sys/devices/system/memory/memory*; do echo blk ${b##*/} $(cat $b/state) "
    "removable=$(cat $b/removable) zones=$(cat $b/valid_zones); done"
)
BLOCK = "/sys/devices/system/memory/memory"
SHELL = [
    SHOW,
    "host device_add pc-dimm,id=d,memdev=m",
    "host info memory-devices",
    SHOW,
    'NEW=; for b in MEM; do [ $(cat $b/state) = offline ] && NEW="$NEW $b"; done; echo new: $NEW',
    "for b in $NEW; do memhog poke:$b/state:online; done",
    SHOW,
    "memhog name:A mmap:a:1M touchw:a hold &",
    "APID=$!; echo 50 > /proc/sys/vm/swappiness",
    "set -- $NEW; for b in $1 $2; do memhog vm0 poke:$b/state:offline vmd:offline_${b##*/}; done",
    SHOW,
    "for b in $3; do memhog vm0 poke:$b/state:offline vmd:offline_${b##*/}; done",
    "kill -9 $APID; sleep 1",
    SHOW,
]
SCRIPT = f"""host device_add pc-dimm,id=d,memdev=m
memhog poke:{BLOCK}32/state:online
memhog poke:{BLOCK}33/state:online
memhog poke:{BLOCK}34/state:online
memhog name:A mmap:a:1M touchw:a hold &
sysctl vm.swappiness=50
memhog vm0 poke:{BLOCK}32/state:offline vmd:offline_memory32
memhog vm0 poke:{BLOCK}33/state:offline vmd:offline_memory33
memhog vm0 poke:{BLOCK}34/state:offline vmd:offline_memory34
kill A
sleep 1
"""


def test_the_script_prints_where_the_shell_did():
    """Between the same commands, also between two loops that do the same to other blocks."""
    script = parse_script(SCRIPT)
    made = with_block_prints(script, SHELL)
    shows = [n for n, command in enumerate(made.commands) if isinstance(command, ShowBlocks)]
    others = [command for command in made.commands if not isinstance(command, ShowBlocks)]
    assert others == list(script.commands)
    assert shows == [0, 2, 6, 11, len(made.commands) - 1]


@pytest.mark.parametrize("shell", [[], [SHOW], [SHOW, "sleep 1"], [*SHELL[:5], *SHELL[6:]]])
def test_lines_that_do_not_go_with_the_script_change_nothing(shell):
    """Where the two differ nobody knows when the shell printed, so nothing is printed."""
    script = parse_script(SCRIPT)
    assert with_block_prints(script, shell) == script
