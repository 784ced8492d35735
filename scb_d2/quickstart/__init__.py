"""The first run, from photographs to a trained detector and its pictures.

In: an output folder. Out: a run in it, the match report, metrics in words, a grid of detections,
and the command that answers whether the loss did anything.
"""
