"""Graphs of ordinary runs of the scripts, on an existing workflow engine; imports analysis and console."""
