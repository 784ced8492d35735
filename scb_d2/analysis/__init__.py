"""What the numbers say: the match report before training, the comparison of runs after it."""
