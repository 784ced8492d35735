"""Pictures that serve more than one command.

In: arrays, boxes, instances, metrics of a run. Out: pictures and PNG files, in the one ``palette``.
"""
