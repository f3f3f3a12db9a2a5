"""CARRIES: one request through its attempts, failovers and the streaming relay."""
