"""The map of the actors in their guide is what the sources say."""

import ast

import pytest

import kernelsim.actors
from tools.actor_map import Module, actor_map, actor_modules, modules, owned


def test_the_guide_has_the_map_of_today():
    """Each actor with what it owns, hears and tells; `python -m tools.actor_map` prints it."""
    assert actor_map() in (kernelsim.actors.__doc__ or "")


def test_each_actor_is_in_the_map():
    """None is forgotten, and none has two names."""
    assert sorted(actor_modules(modules())) == [
        "acpi", "block_device", "cpu", "dma", "fault_handler", "flusher", "interconnect",
        "kcompactd", "kdamond", "kernel_space", "kernel_thread", "kswapd", "memory_hotplug",
        "net_device", "node", "oom_killer", "oom_reaper", "pdflush", "process", "workqueue",
    ]  # fmt: skip


def test_messages_are_found_where_they_are_made():
    """A message that is only imported is not sent; one a disk is handed is told by the disk."""
    text = (
        "from kernelsim.actors.messages.node import EndSwapRead, FreePages, LruAddDrain\n"
        "def f(bio): return bio(end_io=EndSwapRead()), LruAddDrain(1, 'cpu0')\n"
    )
    module = Module("kernelsim.actors.a", ast.parse(text))
    assert module.sends == {("node", "EndSwapRead"), ("node", "LruAddDrain")}
    assert module.hands_on == {("node", "EndSwapRead")}


def test_an_actor_that_does_not_say_what_it_owns_is_refused():
    """Its module's docstring has a part `Owns:`."""
    assert owned(Module("a", ast.parse('"""A.\n\nOwns: one,\ntwo.\nUnits: ns.\n"""'))) == "one, two"
    with pytest.raises(ValueError, match="Owns"):
        owned(Module("a", ast.parse('"""A."""')))
