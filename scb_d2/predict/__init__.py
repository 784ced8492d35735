"""Detection on single images: reading them, loading weights, running a model.

In: a config, weights and image files. Out: instances per image, with the names of their classes.
"""
