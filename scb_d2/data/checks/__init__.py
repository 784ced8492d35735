"""What is said about a data set before it is trained or evaluated on.

In: the files of a data set. Out: a report of findings, each with a level, a count and examples.
"""

from .datasets import check_dataset, check_datasets

__all__ = ["check_dataset", "check_datasets"]
