"""Detection on single images, after training.

In: a config, weights and image files. Out: a picture of each image and one JSON of all detections.
Path of an image: ``images`` (read), ``predictor`` (network, ``weights`` loaded), ``categories``
(names of its classes), ``run`` (drawn and written).
"""
