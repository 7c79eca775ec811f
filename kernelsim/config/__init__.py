"""What a user may turn: machines, zones, latencies, sysctls, and the era whose rules hold.

Frozen attrs values, read from TOML, from presets or from a recorded /proc; checked when they are
made. A refused value is a `ConfigError` with file, key, value and rule. Nothing here runs.
"""
