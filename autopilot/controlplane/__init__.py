"""KNOWS: keeps the picture of Chutes fresh, and never loses the last good one."""
