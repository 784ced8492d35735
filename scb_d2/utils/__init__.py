"""The ground floor: arguments, files, seeds, hardware and size groups.

In: plain values. Out: checked values, whole files, restored random state. Knows nothing of
detectors, configs or data sets, and imports nothing of this package but its errors.
"""
