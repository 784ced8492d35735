"""Evaluation by object size: recall at confidence thresholds, AP and AR."""
