"""Smaller forms of a script's line and of a machine file's table.

Interface: `smaller_lines` and `smaller_machines` give what to try, the most is gone first; what is
no line or no machine any more is for the caller to find out.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

from kernelsim.units import PAGE_SIZE, parse_size
from kernelsim.workload.script.script_steps import form_of

WORDS: Final = re.compile(r"(\d+)([KMG]?)")
KEPT: Final = frozenset(
    {"name", "cpu", "uid", "adj", "setpol", "poke", "mprotect"}
)  # their numbers are names
DROPPED: Final = ("sysctl", "distances", "movablecore", "era", "arch", "swap", "files", "latency")


def smaller_lines(line: str) -> Iterator[str]:
    """Give a line with fewer steps, then with smaller numbers."""
    words = line.split()
    if words[:1] != ["memhog"]:
        return
    last = words[-1:] if words[-1] == "&" else []
    steps = words[1 : len(words) - len(last)]
    size = max(1, len(steps) // 2)
    while size:
        for first in range(0, len(steps), size):
            left = steps[:first] + steps[first + size :]
            yield " ".join(["memhog", *_whole(left), *last])
        size //= 2
    for number, step in enumerate(steps):
        for smaller in smaller_steps(step):
            yield " ".join(["memhog", *steps[:number], smaller, *steps[number + 1 :], *last])


def _whole(steps: list[str]) -> list[str]:
    """Leave out the steps on regions that no step before makes."""
    regions: set[str] = set()
    kept = []
    for step in steps:
        op, *arguments = step.split(":")
        named = list(zip(form_of(op).split(), arguments, strict=False))
        if any(name not in regions for kind, name in named if kind in {"region", "gone"}):
            continue
        regions |= {name for kind, name in named if kind == "new"}
        regions -= {name for kind, name in named if kind == "gone"}
        kept.append(step)
    return kept


def smaller_steps(step: str) -> Iterator[str]:
    """Give a step without its last argument, and with each number halved."""
    op, *arguments = step.split(":")
    if op in KEPT:
        return
    if op in {"touchw", "touchr"} and len(arguments) > 1:
        yield ":".join([op, *arguments[:-1]])
    for number, argument in enumerate(arguments):
        match = WORDS.fullmatch(argument)
        if match is None or int(match[1]) <= 1:
            continue
        half = f"{int(match[1]) // 2}{match[2]}"
        if match[2] == "K" and int(match[1]) % 4 == 0:  # keep whole pages whole
            half = f"{max(4, int(match[1]) // 8 * 4)}K"
        if half != argument:
            yield ":".join([op, *arguments[:number], half, *arguments[number + 1 :]])


def smaller_machines(table: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Give a machine with less in it: no tunables, one node, fewer CPUs, half the memory."""
    for key in DROPPED:
        if key in table:
            yield {name: value for name, value in table.items() if name != key}
    for key in table.get("sysctl", {}):
        left = {name: value for name, value in table["sysctl"].items() if name != key}
        yield table | {"sysctl": left}
    nodes = table["node"]
    for number in range(len(nodes) - 1, -1, -1):
        if len(nodes) > 1:
            yield from _without_node(table, number)
    for number, node in enumerate(nodes):
        for smaller in _smaller_nodes(node):
            yield table | {"node": [*nodes[:number], smaller, *nodes[number + 1 :]]}
    yield from _smaller_swap(table)


def with_less_memory(table: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Give a machine with an eighth, then a quarter, then half of a node's memory gone."""
    nodes = table["node"]
    for number, node in enumerate(nodes):
        pages = parse_size(str(node.get("memory", "0"))) // PAGE_SIZE
        for part in (8, 4, 2):
            less = f"{(pages - pages // part) * (PAGE_SIZE // 1024)}K"
            if pages >= part:
                yield table | {
                    "node": [*nodes[:number], node | {"memory": less}, *nodes[number + 1 :]]
                }


def _without_node(table: dict[str, Any], number: int) -> Iterator[dict[str, Any]]:
    nodes = [dict(node) for node in table["node"]]
    del nodes[number]
    first = 0
    for node in nodes:  # CPUs are numbered without a gap
        low, _, high = node.get("cpus", "").partition("-")
        if low:
            count = int(high or low) - int(low)
            node["cpus"] = f"{first}-{first + count}"
            first += count + 1
    yield {key: value for key, value in table.items() if key != "distances"} | {"node": nodes}


def _smaller_nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    low, _, high = node.get("cpus", "").partition("-")
    if high and int(high) > int(low):
        yield node | {"cpus": f"{low}-{int(low) + (int(high) - int(low)) // 2}"}
    if "start" in node:
        yield {key: value for key, value in node.items() if key != "start"}
    match = WORDS.fullmatch(str(node.get("memory", "")))
    if match is not None and int(match[1]) > 1:
        yield node | {"memory": f"{int(match[1]) // 2}{match[2]}"}


def _smaller_swap(table: dict[str, Any]) -> Iterator[dict[str, Any]]:
    swaps, devices = table.get("swap", []), table.get("device", [])
    if len(swaps) > 1:
        yield table | {"swap": swaps[:-1], "device": devices[:-1]}
        yield table | {"swap": swaps[1:], "device": devices[1:]}
    for number, device in enumerate(devices):
        plain = {"name": device["name"]}
        if plain != device:
            yield table | {"device": [*devices[:number], plain, *devices[number + 1 :]]}
    if not swaps and devices:
        yield {key: value for key, value in table.items() if key != "device"}
