"""ASKS: the `autopilot` command line, which tells people what a router knows and would do."""
