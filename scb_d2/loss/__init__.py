"""The method: from matches to weights, from weights to losses. Tensors in, tensors out.

Reading order: ``matching`` (who matched whom, M per object), ``object_weights`` (W of M,
equation 3), ``anchor_targets`` (what an anchor inherits from its object), ``unreduced_losses`` and
``weighted_losses`` (equation 2), ``match_statistics`` (what is logged). Nothing here reads a
config.
"""
