"""From files of annotations to what the rest of the package sees.

In: COCO JSON, VOC and YOLO folders, registered data sets, results of detectors. Out: canonical
records (:class:`scb_d2.data.reader.records.Records`) and columns of objects and detections. What
they hold is judged by :mod:`scb_d2.data.checks`.
"""
