"""Many runs instead of one: each run is a seed, and a seed repeats it. Rank 10."""
