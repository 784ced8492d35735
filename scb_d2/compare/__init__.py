"""The comparison of two arms after training, over paired seeds.

In: folders of runs. Out: differences with intervals, gained and lost objects, pictures and a page.
Path of a run: ``runs``, ``metrics``, ``intervals``, ``gained_lost``, ``report``.
"""
