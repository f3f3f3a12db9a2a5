"""RUNS: the processes of a service that has more than one, and what they tell each other."""
