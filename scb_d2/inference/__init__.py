"""Detection on single images: reading them, loading weights, running a model."""
