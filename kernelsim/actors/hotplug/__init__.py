"""Memory that comes and goes: the controller, and moving pages out of its way."""
