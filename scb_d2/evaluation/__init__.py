"""What a detector found: AP, and recall by object size.

In: ground truth and detections, as records or in Detectron2's evaluators. Out: metrics by name.
Path of a result: ``detection_matching`` (which detection found which object), ``average_precision``
and ``recall`` (numbers by ``size_bins``), ``recall_report`` and ``results_table``. ``build`` makes
the evaluators of a data set.
"""
