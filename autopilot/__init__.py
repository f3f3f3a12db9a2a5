"""Chutes Autopilot: an OpenAI-compatible router for the LLM models of Chutes."""

__version__ = "0.1.0"
