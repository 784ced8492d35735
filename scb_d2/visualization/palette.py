"""Colours that people with colour-blindness tell apart."""

__all__ = ["GROUND_TRUTH", "INK", "SERIES", "class_colour"]

# Okabe and Ito's palette (2008). Its green is kept for ground truth.
GROUND_TRUTH = "#009E73"
INK = "#333333"
SERIES = ("#0072B2", "#D55E00", "#CC79A7", "#E69F00", "#56B4E9")
_CLASSES = ("#E69F00", "#56B4E9", "#D55E00", "#CC79A7", "#F0E442", "#0072B2")


def class_colour(class_index: int) -> str:
    """Colour of a class, as ``#rrggbb``; six colours, then they repeat."""
    return _CLASSES[class_index % len(_CLASSES)]
