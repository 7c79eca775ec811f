"""Making memory policies of what a program asks for: modes, flags and nodes, checked as in Linux.

Linux: mm/mempolicy.c: sanitize_mpol_flags, mpol_new, mpol_set_nodemask, 6.1.
Differs: There are no cpusets: every task is allowed all nodes with memory. Nor is there NUMA
balancing, so that MPOL_F_NUMA_BALANCING and MPOL_MF_LAZY are no flags.
Interface: `are_policy_words` looks at what a call says, by itself; `mpol_new` makes a policy, or
says with an errno why there is none of that kind; `parse_mempolicy` reads one as `spawn` takes it.
Units: node numbers.
"""

import errno
from collections.abc import Sequence

from kernelsim.config.number_list import parse_number_list
from kernelsim.mm.page.mempolicy import (
    FLAG_WORDS,
    MAX_NUMNODES,
    MODES,
    MPOL_DEFAULT,
    MPOL_F_RELATIVE_NODES,
    MPOL_F_STATIC_NODES,
    MPOL_LOCAL,
    MPOL_PREFERRED,
    Mempolicy,
)


def are_policy_words(flags: int, nodes: Sequence[int]) -> bool:
    """Tell whether a call may have these flags and nodes, whatever its mode and its range.

    Source: Linux 6.1 mm/mempolicy.c:sanitize_mpol_flags, :get_nodes
    """
    both = MPOL_F_STATIC_NODES | MPOL_F_RELATIVE_NODES
    return flags & both != both and all(0 <= nid < MAX_NUMNODES for nid in nodes)


def mpol_new(
    mode: str, flags: int, nodes: Sequence[int], with_memory: Sequence[int]
) -> Mempolicy | int | None:
    """Return a policy, None for the default one, or a negative errno.

    Args:
        mode: One of `MODES`, or "default".
        flags: MPOL_F_* bits.
        nodes: As the program gives them; those without memory are left out of the policy, unless
            the flags say that they are positions among those with memory.
        with_memory: Nodes with memory, rising.

    Source: Linux 6.1 mm/mempolicy.c:mpol_new, :mpol_set_nodemask
    """
    if not are_policy_words(flags, nodes):
        return -errno.EINVAL
    wanted = tuple(sorted(set(nodes)))
    if mode == MPOL_DEFAULT:
        return -errno.EINVAL if wanted else None
    if mode == MPOL_LOCAL or (mode == MPOL_PREFERRED and not wanted):
        return -errno.EINVAL if wanted or flags else Mempolicy(MPOL_LOCAL, ())
    if flags & MPOL_F_RELATIVE_NODES:
        allowed = mpol_relative_nodemask(wanted, with_memory)
    else:
        allowed = tuple(nid for nid in wanted if nid in with_memory)
    if not allowed:
        return -errno.EINVAL
    used = allowed[:1] if mode == MPOL_PREFERRED else allowed
    return Mempolicy(mode, used, flags, wanted if flags else ())


def mpol_relative_nodemask(nodes: Sequence[int], allowed: Sequence[int]) -> tuple[int, ...]:
    """Return the allowed nodes that stand at some positions, counted round.

    Source: Linux 6.1 mm/mempolicy.c:mpol_relative_nodemask, lib/bitmap.c:bitmap_fold, :bitmap_onto
    """
    return tuple(sorted({allowed[position % len(allowed)] for position in nodes}))


def parse_mempolicy(text: str, with_memory: Sequence[int]) -> Mempolicy | int | None:
    """Return the policy of a text such as "bind=static:0,2-3", as `mpol_new` does.

    Raises:
        ValueError: It is none.

    Source: Linux 6.1 mm/mempolicy.c:mpol_parse_str
    """
    head, _, listed = text.partition(":")
    mode, equals, word = head.partition("=")
    flags = [flag for flag, name in FLAG_WORDS.items() if name == word]
    if mode not in {MPOL_DEFAULT, *MODES} or bool(equals) != bool(flags):
        raise ValueError(text)
    nodes = parse_number_list(listed)
    if not flags and not set(nodes).issubset(with_memory):
        raise ValueError(text)
    return mpol_new(mode, sum(flags), nodes, with_memory)
