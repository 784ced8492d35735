"""The match report before training: how many anchors each object matches, and what follows.

In: a config and a data set. Out: a page, figures and JSON with matches by size, the share of the
loss that small objects would carry, and a verdict. Path of an image: ``network_input``, ``collect``
(with the detector's own matcher, on ``anchors``), ``tally``, ``report``, ``verdict``, ``page``.
"""
