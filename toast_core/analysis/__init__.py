"""Measurements of models on data."""
