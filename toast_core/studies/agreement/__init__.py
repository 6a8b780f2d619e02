"""Masked beside compact on the same images: whether they are one function."""
