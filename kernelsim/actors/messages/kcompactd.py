"""What kcompactd hears."""

import attrs


@attrs.frozen
class WakeUp:
    """It has something to do; what for is in the node's `KcompactdState`."""
