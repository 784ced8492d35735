"""Pictures: detections on images, a grid of them against ground truth, and training curves."""
