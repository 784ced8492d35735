"""The training loop: trainer, loaders, hooks, and what is kept when a run has to stop.

In: a checked config. Out: checkpoints, metrics and results in its output folder. Import from the
modules; this file stays empty so that command lines start quickly.
"""
