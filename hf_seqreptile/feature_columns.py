"""Columns of features that trainers read."""

WINDOWS_OF = "overflow_to_sample_mapping"
"""The column, named as by tokenizers, that tells which example a row is a window of, where long ones have several."""
