"""Anchors fitted to objects under a detector's constraints.

``coverage`` says which objects an anchor shape reaches, ``layouts`` what may be chosen, ``search``
chooses.
"""
