"""Misbehaving: an upstream that does what no web framework allows, one script for each model."""
