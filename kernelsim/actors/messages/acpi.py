"""What the side of memory hotplug hears that hardware begins.

Units: pages, pfn.
"""

import attrs


@attrs.frozen
class AddDimm:
    """A DIMM is put in; answered with 0 or a negative errno.

    Attributes:
        name: Its name.
        start: Its first frame.
        nr_pages: Its size.
        nid: Its node.
    """

    name: str
    start: int
    nr_pages: int
    nid: int


@attrs.frozen
class RemoveDimm:
    """A DIMM is asked to leave; answered with 0 when it has, or a negative errno."""

    name: str
