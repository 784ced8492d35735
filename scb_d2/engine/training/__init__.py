"""The training loop: trainer, loaders, hooks, and what is kept when a run has to stop.

In: a checked config, YAML or LazyConfig. Out: checkpoints, metrics and results in its output
folder. Path of a run: ``parts`` (model, optimizer, loaders, evaluators and ``settings`` of either
kind of config), ``trainer`` (joins them), ``nonfinite`` and ``bfloat16`` (one step), ``hooks``
(between steps). Import from the modules; this file stays empty so that command lines start quickly.
"""
