"""Data: the synthetic shapes, registration from the config, and checks before training."""
