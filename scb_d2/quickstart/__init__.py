"""The quick start: one run on the embedded data, from training to pictures."""
