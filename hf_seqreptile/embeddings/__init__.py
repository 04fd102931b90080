"""Texts as vectors, by a pretrained encoder; imports models."""
