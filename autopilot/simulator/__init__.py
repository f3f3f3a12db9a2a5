"""A faithful little Chutes: the demo, smoke, tests and fault lab all run against it."""
