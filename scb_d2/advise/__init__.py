"""What to change in a config about the objects that are lost, and the experiment to prove it.

In: a config and its data. Out: findings, a config with the changes, a plan for `scb-d2 experiment`.
``settings`` reads a YAML config or a LazyConfig alike, ``measure`` counts what findings need once,
then one module for each group of findings; ``run`` ranks them and ``files`` writes.
"""
