"""Accuracy and loss of a model on images."""
