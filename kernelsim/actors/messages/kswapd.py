"""What kswapd hears."""

import attrs


@attrs.frozen
class WakeUp:
    """Free pages are wanted; of which zones is in the node's `KswapdState`."""
