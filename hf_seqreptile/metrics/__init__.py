"""Scores of answers to questions, as `evaluate.Metric` classes that need no download."""

from .mlqa import MLQAMetric
from .squad import SquadMetric
from .squad_v2 import SquadV2Metric

__all__ = ["MLQAMetric", "SquadMetric", "SquadV2Metric"]
