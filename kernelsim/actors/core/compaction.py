"""What a machine knows of compaction: by zone how far it is, by node what kcompactd is to do.

Linux: fields of struct zone and pg_data_t (include/linux/mmzone.h), 6.1.
Interface: `Compaction`, one a machine; shared, read and written without a lock as in Linux.
"""

from collections import defaultdict

import attrs

from kernelsim.actors.core.task import Task
from kernelsim.actors.messages.kcompactd import WakeUp
from kernelsim.mm.page.compaction import ZoneCompaction
from kernelsim.sim.actor import ActorRef


@attrs.define
class KcompactdState:
    """What the kcompactd of a node is asked for.

    Attributes:
        max_order: The largest block that was wanted since it last looked; 0 for none.
        highest_zoneidx: Highest zone type that all who asked may use; None if nobody asked.
        asleep: It sleeps, and a wake-up has to be told.
        looks_ns: When it looks, asleep, whether free memory is fragmented.
    """

    max_order: int = 0
    highest_zoneidx: int | None = None
    asleep: bool = False
    looks_ns: int = 0


@attrs.define
class Compaction:
    """What is known of all zones and nodes.

    Attributes:
        zones: By zone row.
        tasks: Names of the tasks that compact now.
        kcompactds: The actor to wake, by node; none in kernels that have none.
        states: What each is asked for.
        kswapds: The tasks of kswapd, by node.
    """

    zones: defaultdict[int, ZoneCompaction] = attrs.field(
        factory=lambda: defaultdict(ZoneCompaction)
    )
    tasks: set[str] = attrs.field(factory=set)
    kcompactds: list[ActorRef] = attrs.field(factory=list)
    states: list[KcompactdState] = attrs.field(factory=list)
    kswapds: list[Task] = attrs.field(factory=list)

    def wake(self, nid: int) -> None:
        """Wake the kcompactd of a node, if it sleeps."""
        if self.states[nid].asleep:
            self.states[nid].asleep = False
            self.kcompactds[nid].tell(WakeUp())
