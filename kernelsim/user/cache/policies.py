"""The policies by name.

Interface: `POLICIES`; to add one, give it a row.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from kernelsim.user.cache.clock import Clock
from kernelsim.user.cache.innodb import Innodb
from kernelsim.user.cache.lru import Lru
from kernelsim.user.cache.policy import CachePolicy
from kernelsim.user.cache.s3_fifo import S3Fifo
from kernelsim.user.cache.two_lists import TwoLists

POLICIES: Final[Mapping[str, Callable[[int], CachePolicy]]] = {
    "lru": Lru,
    "clock": Clock,
    "two_lists": TwoLists,
    "innodb": Innodb,  # 5:3, MySQL's default
    "innodb_7_3": partial(Innodb, old_pct=30),
    "s3_fifo": S3Fifo,
}
