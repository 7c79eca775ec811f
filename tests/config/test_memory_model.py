"""Tests of the memory models: look-ups there and back, what they cost, what they allow."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelsim.cli.main import exit_status
from kernelsim.config.machine_file import load_machine, machine_from_toml, machine_text
from kernelsim.config.memory_model import MODELS, PAGES_PER_SECTION, memory_model
from kernelsim.errors import ConfigError

GIB_PAGES = 1 << 18
HOLE = 'name = "m"\nera = "classic"\nholes = ["1G-2G"]\n'
ONE_NODE = '[[node]]\ncpus = "0"\nmemory = "2G"\n'


def machine(head, nodes=ONE_NODE):
    """Return the machine of a text."""
    return machine_from_toml(tomllib.loads(head + nodes))


def complaint(head, nodes=ONE_NODE):
    """Return the message about the mistake in a text."""
    with pytest.raises(ConfigError) as caught:
        machine(head, nodes)
    return str(caught.value)


@st.composite
def layouts(draw):
    """Draw the memory of some nodes: ranges between random holes, dealt out in order."""
    steps = draw(st.lists(st.integers(1, 3 * PAGES_PER_SECTION), min_size=2, max_size=16))
    at, ranges = draw(st.integers(0, 5000)), []
    for hole, size in zip(steps[::2], steps[1::2], strict=False):
        ranges.append((at + hole, at + hole + size))
        at += hole + size
    cut = draw(st.integers(0, len(ranges)))
    return tuple(ranges[:cut]), tuple(ranges[cut:])


@pytest.mark.mission("P3")
@given(nodes=layouts(), arch=st.sampled_from(["x86_64", "i386"]), data=st.data())
def test_models_agree_on_memory(nodes, arch, data):
    """Each frame with memory is valid and comes back in every model; maps shrink with fidelity."""
    models = {name: memory_model(name, nodes, arch=arch, struct_page_bytes=40) for name in MODELS}
    ranges = [part for node in nodes for part in node]
    low, high = data.draw(st.sampled_from(ranges))
    pfns = {low, high - 1, data.draw(st.integers(low, high - 1))}
    stray = data.draw(st.integers(0, ranges[-1][1] + 2 * PAGES_PER_SECTION))
    for model in models.values():
        assert {model.page_to_pfn(model.pfn_to_page(pfn)) for pfn in pfns} == pfns
        assert len({model.pfn_to_page(pfn) for pfn in pfns}) == len(pfns)
        if model.pfn_valid(stray):
            assert model.page_to_pfn(model.pfn_to_page(stray)) == stray
        else:
            assert not any(first <= stray < end for first, end in ranges)
    flat, discontig = models["flatmem"], models["discontigmem"]
    assert flat.pfn_valid(stray) or not discontig.pfn_valid(stray)
    assert flat.nr_memory_pages == sum(end - first for first, end in ranges)
    assert flat.nr_struct_pages >= flat.nr_memory_pages


def test_what_has_no_struct_page_is_told():
    """A frame of a missing section, and an address between two entries."""
    model = memory_model("sparsemem", [((0, 10),)], arch="x86_64", struct_page_bytes=64)
    with pytest.raises(ValueError, match="pfn 32768 has no struct page"):
        model.pfn_to_page(PAGES_PER_SECTION)
    with pytest.raises(ValueError, match="0xffffea0000000008 is no struct page"):
        model.page_to_pfn(model.pfn_to_page(0) + 8)


@pytest.mark.mission("P2")
@pytest.mark.parametrize("nr_gib", [1, 3])
def test_a_hole_costs_40_bytes_a_page_with_flatmem(nr_gib):
    """A hole of N pages takes 40 N bytes from what processes can have; with sparsemem nothing."""
    holes = f'name = "m"\nera = "classic"\nholes = ["4G-{4 + nr_gib}G"]\n'
    nodes = ONE_NODE.replace("2G", "6G")
    flat = machine('memory_model = "flatmem"\n' + holes, nodes)
    without = machine('memory_model = "flatmem"\nera = "classic"\nname = "m"\n', nodes)
    cost = 40 * nr_gib * GIB_PAGES

    assert flat.mem_map("flatmem").hole_bytes - without.mem_map("flatmem").hole_bytes == cost
    managed = [each.nodes[0].managed_pages for each in (without, flat)]
    assert managed[0] - managed[1] == cost // 4096
    sparse = [machine('memory_model = "sparsemem"\n' + holes, nodes), machine(
        'name = "m"\nera = "classic"\n', nodes
    )]  # fmt: skip
    assert len({each.nodes[0].managed_pages for each in sparse}) == 1


@pytest.mark.mission("P4")
def test_sections_follow_the_page_size():
    """32768 pages: 128 MiB with pages of 4 KiB, 512 MiB with pages of 16 KiB."""
    spec = load_machine("numa-2x4g")
    small, large = (spec.mem_map("sparsemem", page_size=size << 10) for size in (4, 16))

    assert [64, 16] == [len(model.maps) for model in (small, large)]
    assert {PAGES_PER_SECTION} == {each.nr_pages for model in (small, large) for each in model.maps}
    assert small.mem_map_bytes == 4 * large.mem_map_bytes == 2 * GIB_PAGES * 4 * 64


@pytest.mark.parametrize(
    ("head", "nodes", "rule"),
    [
        (
            'memory_model = "sparse"\n',
            ONE_NODE,
            ("memory_model = 'sparse': must be one of flatmem, discontigmem, sparsemem"),
        ),
        (
            'memory_model = "flatmem"\n',
            ONE_NODE + ONE_NODE.replace('"0"', '"1"'),
            (
                "memory_model = "
                "'flatmem': is for one node; for 2 it must be one of discontigmem, sparsemem"
            ),
        ),
        (
            'memory_model = "flatmem"\n',
            ONE_NODE + 'device_memory = "1G"\n',
            (
                "device_memory = "
                "'flatmem': is hot-plugged; flatmem has one array of struct page whose size is "
                "fixed at boot"
            ),
        ),
        (
            'memory_model = "flatmem"\nholes = ["16G-8T"]\n',
            ONE_NODE.replace("2G", "16G"),
            "holes = '2.9 GiB': the struct pages of its holes need 79.8 GiB of zone DMA32",
        ),
        (
            'holes = ["1G"]\n',
            ONE_NODE,
            "holes[0] = '1G': must be a range such as 1G-2G",
        ),
        ('holes = ["2G-1G"]\n', ONE_NODE, "holes[0] = '2G-1G': must end behind its start"),
        (
            'holes = ["1G-2000001K"]\n',
            ONE_NODE,
            ("holes[0] = '2000001K': must be a multiple of the page size, 4096 bytes"),
        ),
        (
            'holes = ["1G-2G", "1536M-1700M"]\n',
            ONE_NODE,
            ("holes = '0x60000000': a hole up to 0x80000000 lies there"),
        ),
        (
            'holes = ["3G-5G"]\n',
            ONE_NODE,
            ("holes = '0xc0000000': a hole up to 0x100000000 lies there"),
        ),
    ],
)
def test_mistakes_are_told(head, nodes, rule):
    """A model that is unknown or cannot have these nodes, and holes that are none."""
    assert complaint('name = "m"\nera = "classic"\n' + head, nodes).startswith(rule)


def test_the_default_follows_architecture_and_nodes():
    """SPARSEMEM on x86_64, FLATMEM on i386 unless there are several nodes."""
    two = ONE_NODE + ONE_NODE.replace('"0"', '"1"').replace("2G", "512M")
    plain, i386 = 'name = "m"\n', 'name = "m"\narch = "i386"\n'
    cases = ((plain, ONE_NODE), (i386, ONE_NODE), (i386, two))
    models = [machine(head, nodes).memory_model for head, nodes in cases]
    assert models == ["sparsemem", "flatmem", "sparsemem"]


def test_discontigmem_is_classic():
    """It went with 5.14."""
    head = 'name = "m"\nmemory_model = "discontigmem"\n'
    rule = "memory_model = 'discontigmem': only era = \"classic\" has it; it went with 5.14"
    assert complaint(head) == rule
    spec = machine(head + 'era = "classic"\n', ONE_NODE + ONE_NODE.replace('"0"', '"1"'))
    assert spec == machine_from_toml(tomllib.loads(machine_text(spec)))


@pytest.mark.mission("P2")
def test_show_prints_the_map_and_the_models(tmp_path, capsys):
    """The hole stands in the map with its price; the machine's own model has a star."""
    path = tmp_path / "m.toml"
    path.write_text(HOLE + 'memory_model = "flatmem"\n' + ONE_NODE)
    assert exit_status(["machine", "show", str(path)]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    hole = "0x0000000040000000-0x000000007fffffff 1 GiB hole: 262144 pages, 10485760 bytes of"
    assert f"{hole} flatmem" in lines
    assert any(line.startswith("flatmem * 1 786432 30 MiB 10 MiB none: the one") for line in lines)
    assert any(line.startswith("sparsemem 16 524288 20 MiB") for line in lines)


@pytest.mark.mission("P4")
def test_show_takes_a_page_size(capsys):
    """The models with pages of 16 KiB; another size is refused, and so is it with other actions."""
    assert exit_status(["machine", "show", "uma-2g", "--page-size", "16K"]) == 0
    assert "pages of 16 KiB, sections of 512 MiB" in capsys.readouterr().out
    assert exit_status(["machine", "show", "uma-2g", "--page-size", "8K"]) == 2
    assert capsys.readouterr().err.endswith("--page-size = '8K': must be one of 4K, 16K, 64K\n")
    assert exit_status(["machine", "list", "--page-size", "16K"]) == 2
    assert "machine list takes no --page-size (see --help)" in capsys.readouterr().err
