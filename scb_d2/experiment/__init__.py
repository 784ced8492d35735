"""An experiment: all arms and seeds of a plan, trained, compared and summed up.

In: a plan (YAML). Out: one run a folder, the comparisons of its arms and summary.json.
"""
