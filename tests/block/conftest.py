"""The fixture of a tiny machine for reclaim."""

from tests.reclaim_box import reclaim_box

__all__ = ["reclaim_box"]
