"""From files of annotations to what the rest of the package sees.

In: COCO JSON, VOC folders, registered data sets, results of detectors. Out: their records. Nothing
is judged here: :mod:`scb_d2.data.checks` does that.
"""
