"""Pipelines that transformers no longer has; imports problems."""
