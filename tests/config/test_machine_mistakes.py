"""Every mistake in a machine file is told in one line: key, value, rule."""

import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelsim.config.machine_file import load_machine, machine_from_toml, machine_text
from kernelsim.config.machine_form import DEVICE_KINDS
from kernelsim.errors import ConfigError

ONE_NODE = 'name = "m"\n[[node]]\ncpus = "0-1"\nmemory = "1G"\n'


def complaint(text: str) -> str:
    """Return the message of the ConfigError a machine file causes."""
    with pytest.raises(ConfigError) as caught:
        machine_from_toml(tomllib.loads(text))
    return str(caught.value)


TWO = ONE_NODE + '[[node]]\ncpus = "2"\nmemory = "1G"\n'
DEVICE_RULE = "must be a device's name, up to 31 letters, digits and . _ - ! such as sda"
DISK_OF_4M = ONE_NODE + '[[device]]\nname = "sda"\nsize = "4M"\n'
FILE_OF_1M = '[[files]]\npath = "/f"\nsize = "1M"\ndevice = "sda"\n'
MISTAKES = {
    "file on zram": (
        ONE_NODE
        + '[[device]]\nname = "zram0"\nkind = "zram"\n'
        + '[[files]]\npath = "/f"\nsize = "1M"\ndevice = "zram0"\n',
        "files[0].device = 'zram0': is zram, which holds nothing at boot",
    ),
    "file twice": (
        f"{DISK_OF_4M}{FILE_OF_1M}{FILE_OF_1M}",
        "files[1].path = '/f': there is a file of that path already",
    ),
    "path of a file": (
        DISK_OF_4M + FILE_OF_1M.replace("/f", "f"),
        "files[0].path = 'f': must be a path from / without spaces",
    ),
    "file on no disk": (
        DISK_OF_4M + FILE_OF_1M.replace("sda", "sdb"),
        "files[0].device = 'sdb': no such device (sda)",
    ),
    "files larger than their disk": (
        DISK_OF_4M + FILE_OF_1M + FILE_OF_1M.replace("/f", "/g").replace("1M", "3073K"),
        "files[1].size = 3146752: does not fit on sda with what lies there before it",
    ),
    "file behind a swap area": (
        DISK_OF_4M + '[[swap]]\nsize = "4M"\ndevice = "sda"\n' + FILE_OF_1M,
        "files[0].size = 1048576: does not fit on sda with what lies there before it",
    ),
    "swap areas larger than their disk": (
        DISK_OF_4M
        + '[[swap]]\nsize = "4M"\ndevice = "sda"\n[[swap]]\nsize = "8K"\ndevice = "sda"\n',
        "swap[1].size = 8192: does not fit on sda with what lies there before it",
    ),
    "scheduler": (
        DISK_OF_4M.replace("[[device]]", '[[device]]\nscheduler = "bfq"'),
        "device[0].scheduler = 'bfq': must be one of none, mq-deadline",
    ),
    "unknown key": (
        ONE_NODE.replace("memory", "memroy"),
        "node[0].memroy = '1G': unknown key; did you mean memory?",
    ),
    "unknown key, nothing near": (
        ONE_NODE + "zzz = 1\n",
        "node[0].zzz = 1: unknown key; known are cpus, memory, start, device_memory",
    ),
    "unknown latency": (
        ONE_NODE + "[latency]\ntlb_hit = 1\n",
        "latency.tlb_hit = 1: unknown key; did you mean tlb_hit_ns?",
    ),
    "latency out of range": (
        ONE_NODE + "[latency]\nmemory_local_ns = 0\n",
        "latency.memory_local_ns = 0: must be a whole number, 1 or more",
    ),
    "unknown sysctl": (
        ONE_NODE + '[sysctl]\n"vm.swapiness" = 1\n',
        "sysctl.vm.swapiness = 1: no such sysctl; did you mean vm.swappiness?",
    ),
    "sysctl without quotes": (
        ONE_NODE + "[sysctl]\nvm.swappiness = 300\n",
        "sysctl.vm.swappiness = 300: must be a whole number from 0 to 200 (weight)",
    ),
    "sysctl in both ways": (
        ONE_NODE + '[sysctl]\n"vm.swappiness" = 1\nvm.swappiness = 2\n',
        "sysctl.vm.swappiness = 2: is given twice, and was 1 before",
    ),
    "sysctl that is a table": (
        ONE_NODE + "[sysctl]\nvm.swappiness.now = 1\n",
        "sysctl.vm.swappiness.now = 1: no such sysctl; did you mean vm.swappiness?",
    ),
    "name of two lines": (
        ONE_NODE.replace('"m"', '"a\\nb"'),
        "name = 'a\\nb': must be a text that prints in one line",
    ),
    "device name with a blank": (
        ONE_NODE + '[[device]]\nname = "my disk"\n',
        f"device[0].name = 'my disk': {DEVICE_RULE}",
    ),
    "device name with a slash": (
        ONE_NODE + '[[device]]\nname = "/dev/sda"\n',
        f"device[0].name = '/dev/sda': {DEVICE_RULE}",
    ),
    "swap name of two lines": (
        ONE_NODE + '[[device]]\nname = "sda"\n'
        '[[swap]]\nname = "a\\tb"\nsize = "1M"\ndevice = "sda"\n',
        "swap[0].name = 'a\\tb': must be a text that prints in one line, such as /dev/sda2",
    ),
    "wrong unit": (
        ONE_NODE.replace("1G", "1 gig"),
        (
            "node[0].memory = '1 gig': a size is a whole number of bytes, written as one or with K,"
            " M, G or T (64M, 512KiB, 1.5G)"
        ),
    ),
    "fraction": (
        ONE_NODE.replace('"1G"', "1.5"),
        "node[0].memory = 1.5: must be a size such as 4G",
    ),
    "half a page": (
        ONE_NODE.replace('"1G"', "5000"),
        "node[0].memory = 5000: must be a multiple of the page size, 4096 bytes",
    ),
    "zero memory": (ONE_NODE.replace("1G", "0"), "node[0].memory = '0': must be more than 0"),
    "no memory at all": (
        'name = "m"\n[[node]]\ncpus = "0"\n',
        "memory = 0: at least one node needs memory",
    ),
    "high memory only": (
        'name = "m"\narch = "i386"\n[[node]]\ncpus = "0"\nstart = "1G"\nmemory = "64M"\n',
        "memory = 0: the kernel itself needs pages that are not high or movable",
    ),
    "overlapping nodes": (
        TWO + 'start = "512M"\n',
        "node[1].start = 536870912: the memory of nodes 0 and 1 overlaps",
    ),
    "distance below 10": (
        f"distances = [[10, 9], [20, 10]]\n{TWO}",
        "distances[0][1] = 9: must be 10 to 254",
    ),
    "diagonal": (
        f"distances = [[10, 20], [20, 11]]\n{TWO}",
        "distances[1][1] = 11: the distance of a node to itself is 10",
    ),
    "not square": (
        f"distances = [[10, 20], [20]]\n{TWO}",
        "distances[1] = '1 numbers': the table must be square: 2 numbers a row",
    ),
    "too few rows": (
        f"distances = [[10, 20]]\n{TWO}",
        "distances = '1 rows': needs one row a node: 2 rows",
    ),
    "distance no number": (
        f'distances = [[10, "20"], [20, 10]]\n{TWO}',
        "distances[0][1] = '20': must be a whole number",
    ),
    "too many CPUs": (
        ONE_NODE.replace("0-1", "0-8192"),
        "node[0].cpus = 8192: must be below 8192",
    ),
    "CPU twice": (
        TWO.replace('"2"', '"1"'),
        "node[1].cpus = 1: the CPU is already in node 0",
    ),
    "CPU missing": (
        TWO.replace('"2"', '"3"'),
        "cpus = 3: CPUs are numbered from 0; CPU 2 is missing",
    ),
    "no CPU": (ONE_NODE.replace("0-1", ""), "cpus = '': at least one node needs a CPU"),
    "CPU list": (
        ONE_NODE.replace("0-1", "a-b"),
        "node[0].cpus = 'a-b': must be numbers and ranges such as 0-3,8",
    ),
    "swap on unknown device": (
        ONE_NODE + '[[swap]]\nsize = "1G"\ndevice = "sda"\n',
        "swap[0].device = 'sda': no such device (none is defined)",
    ),
    "era": (f'era = "5.0"\n{ONE_NODE}', "era = '5.0': must be one of 6.1, 4.16, classic"),
    "arch": (f'arch = "arm"\n{ONE_NODE}', "arch = 'arm': must be one of x86_64, i386, i386pae"),
    "device kind": (
        ONE_NODE + '[[device]]\nname = "d"\nkind = "tape"\n',
        f"device[0].kind = 'tape': must be one of {', '.join(DEVICE_KINDS)}",
    ),
    "device twice": (
        ONE_NODE + '[[device]]\nname = "d"\n[[device]]\nname = "d"\n',
        "device[1].name = 'd': the name is already taken",
    ),
    "duration": (
        ONE_NODE + '[[device]]\nname = "d"\nread_latency = "3 weeks"\n',
        (
            "device[0].read_latency = '3 weeks': a duration is a whole number of ns, written as one"
            " or with us, ms, s, min or h (10s, 0.5ms)"
        ),
    ),
    "no name": (ONE_NODE.replace('name = "m"\n', ""), "name = None: the key is missing"),
    "no node": ('name = "m"\n', "node = None: the key is missing"),
    "name no text": (ONE_NODE.replace('"m"', "7"), "name = 7: must be text in quotes"),
    "node no table": ('name = "m"\nnode = 3\n', "node = 3: must be a list"),
    "node list of numbers": ('name = "m"\nnode = [3]\n', "node[0] = 3: must be a table"),
    "32-bit machine too large": (
        f'arch = "i386"\n{ONE_NODE}'.replace("1G", "5G"),
        "node[0].memory = 'up to pfn 1572864': i386 addresses up to pfn 786432",
    ),
    "device memory on 32 bits": (
        f'arch = "i386"\n{ONE_NODE}device_memory = "128M"\n',
        "node[0].device_memory = 'i386': only x86_64 has ZONE_DEVICE",
    ),
    "hole without an end": (
        'holes = ["1G"]\n' + ONE_NODE,
        "holes[0] = '1G': must be a range such as 1G-2G",
    ),
    "holes in one text": ('holes = "1G-2G"\n' + ONE_NODE, "holes = '1G-2G': must be a list"),
    "neither CPU nor memory": (
        ONE_NODE + "[[node]]\n",
        (
            "node[1].memory = 0: a node without CPUs and memory is one that DIMMs can come to,"
            " by maxmem"
        ),
    ),
    "memory in the hole of a PC": (
        ONE_NODE.replace('"1G"', '"1G"\nstart = "1M"')
        + '[[node]]\nmemory = "4K"\nstart = "640K"\n',
        (
            "node[1].memory = '4 KiB': all of it is frame 0 or lies below 1 MiB, where video and"
            " BIOS are"
        ),
    ),
    "less memory than a kernel": (
        ONE_NODE.replace("1G", "640K"),
        "memory = '632 KiB': the kernel keeps all of it",
    ),
    "kernel": ('kernel = "6.1"\n' + ONE_NODE, "kernel = '6.1': must be one of unknown, debian-6.1"),
    "kernel of another machine": (
        'kernel = "debian-6.1"\narch = "i386"\n' + ONE_NODE,
        (
            "kernel = 'debian-6.1': is known for arch x86_64, era 6.1 and memory_model sparsemem"
            " only"
        ),
    ),
    "kernel larger than memory": (
        'kernel = "debian-6.1"\n' + ONE_NODE.replace("1G", "48M"),
        "kernel = '47 MiB': is more than node 0 DMA32 has: 32 MiB",
    ),
    "kernel without room": (
        'kernel = "debian-6.1"\n' + ONE_NODE.replace("1G", "8M"),
        "kernel = '8 MiB': needs memory above 16 MiB",
    ),
    "initramfs of no kernel": (
        'initrd = "4M"\n' + ONE_NODE,
        "initrd = '4M': is for a machine whose kernel is known",
    ),
    "slots for less than the RAM": (
        'maxmem = "512M"\n' + ONE_NODE,
        "maxmem = '512M': must be at least the RAM there is, 1 GiB",
    ),
}


@pytest.mark.mission("B5")
@pytest.mark.parametrize(("text", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_told_in_one_line(text: str, message: str) -> None:
    """Key, value and rule; nothing else, no traceback."""
    assert message == complaint(text)


FULL = machine_text(machine_from_toml(tomllib.loads(ONE_NODE)))
FULL_MISTAKES = {
    "node number": (
        FULL.replace("nid = 0", "nid = 1"),
        "nid = 1: nodes are numbered from 0 in order; want 0",
    ),
    "zone type": (
        FULL.replace('"DMA32"', '"DMA64"'),
        (
            "nodes[0].zones[1].type = 'DMA64': must be one of DMA, DMA32, Normal, HighMem, Movable,"
            " Device"
        ),
    ),
    "zones in another order": (
        FULL.replace('"Device"', '"HighMem"'),
        (
            "nodes[0].zones = 'DMA DMA32 Normal Movable HighMem': must stand in the kernel's order,"
            " each once"
        ),
    ),
    "no Movable": (
        FULL.replace('"Movable"', '"HighMem"'),
        (
            "nodes[0].zones = 'DMA DMA32 Normal HighMem Device': must have Normal and Movable, be"
            " they empty"
        ),
    ),
    "more managed than present": (
        FULL.replace("managed_pages = 3840", "managed_pages = 3999"),
        (
            "nodes[0].zones.DMA = 'managed/present/spanned 3999/3998/4095': must be 0 <= managed <="
            " present <= spanned"
        ),
    ),
    "memory of a node": (
        FULL.replace("[1, 159]", "[159, 1]"),
        "nodes[0].memory_ranges[0] = '159, 1': must be a frame above 0, and a later one",
    ),
    "memory in no zone": (
        FULL.replace("[1, 159]", "[1, 159], [300000, 300007]"),
        "nodes[0].memory_ranges[1] = '300000, 300007': 7 of its frames are in no zone of the node",
    ),
    "memory of no zone's size": (
        FULL.replace("[1, 159], ", ""),
        "nodes[0].memory_ranges = '261888 frames': the zones of the node have 262046 pages present",
    ),
    "range of three": (
        FULL.replace("[1, 159]", "[1, 159, 7]"),
        "nodes[0].memory_ranges[0] = [1, 159, 7]: has too few entries, or too many",
    ),
    "era": (FULL.replace('"6.1"', '"x"'), "era = 'x': must be one of 6.1, 4.16, classic"),
    "sysctl": (
        FULL.replace('"vm.swappiness" = 60', '"vm.swappiness" = 600'),
        "sysctl.vm.swappiness = 600: must be a whole number from 0 to 200 (weight)",
    ),
}


@pytest.mark.mission("B5")
@pytest.mark.parametrize(("text", "message"), FULL_MISTAKES.values(), ids=FULL_MISTAKES)
def test_a_mistake_in_a_full_machine_is_told_in_one_line(text: str, message: str) -> None:
    """Files written by from-proc are checked like those people write."""
    assert message == complaint(text)


@pytest.mark.mission("B5")
@given(st.data())
def test_a_damaged_machine_is_read_or_refused(data: st.DataObject) -> None:
    """Whatever a line is changed into, the outcome is a machine or a one-line ConfigError."""
    lines = data.draw(st.sampled_from([FULL, TWO + "start = 0\n"])).splitlines()
    index = data.draw(st.integers(0, len(lines) - 1))
    key = lines[index].partition("=")[0]
    values = ["", "= []", "= {}", "= -1", "= 1.5", '= "x"', "= true", "= [[1]]", f"= {1 << 70}"]
    lines[index] = key + data.draw(st.sampled_from(values))
    try:
        table = tomllib.loads("\n".join(lines))
    except tomllib.TOMLDecodeError:
        return
    message = "k = v: fine"
    try:
        machine_from_toml(table)
    except ConfigError as error:
        message = str(error)

    assert "\n" not in message
    assert re.match(r"\S+ = .*: ", message)


@pytest.mark.mission("B5")
def test_mistakes_about_files_name_the_file(tmp_path: Path) -> None:
    """Missing, binary, Latin-1 and invalid files are refused with the file's name and place."""
    missing, binary, latin, broken, bad = (tmp_path / f"{n}.toml" for n in "abcde")
    binary.write_bytes(b"name = \x00")
    latin.write_bytes(b'name = "\xe4"')
    broken.write_text('name = "m"\narch "x86_64"\n')
    bad.write_text(f"bad = 1\n{ONE_NODE}")
    expected = {
        missing: f"{missing}: file = 'a.toml': No such file or directory",
        binary: f"{binary}: file = 'b.toml': must be UTF-8 text; byte 7 is NUL",
        latin: f"{latin}: file = 'c.toml': must be UTF-8 text; byte 8 is not",
        broken: f"{broken}: line 2 = 'arch \"x86_64\"': not TOML: Expected '=' after a key in a"
        " key/value pair",
        bad: f"{bad}: bad = 1: unknown key; known are name, arch, era, memory_model, holes, node,"
        " distances, device, swap, files, latency, sysctl, kernel, initrd, maxmem, kernelcore,"
        " movablecore",
        tmp_path: f"{tmp_path}: file = '{tmp_path.name}': Is a directory",
    }

    for path, message in expected.items():
        with pytest.raises(ConfigError) as caught:
            load_machine(path)
        assert message == str(caught.value)


@pytest.mark.mission("B5")
def test_an_unknown_preset_suggests_a_known_one() -> None:
    """The message names the nearest preset."""
    with pytest.raises(ConfigError) as caught:
        load_machine("numa-2x4")

    expected = (
        "machine = 'numa-2x4': no such preset; did you mean numa-2x4g? (a file ends in .toml)"
    )
    assert expected == str(caught.value)
