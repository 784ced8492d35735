"""Controlled experiments: plans, configs and their results; see README.md."""
