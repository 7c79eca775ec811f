"""What kswapd hears."""

import attrs


@attrs.frozen
class WakeUp:
    """Free pages are wanted; what for is in the state."""
