"""Photographs cut into tiles, so that small objects are large at the network's input.

``windows`` says where tiles lie, ``slices`` what becomes of the annotations, ``files`` writes a
data set.
"""
