"""Scores of tags, classes, numbers and answers; imports nothing but the files at the top."""

from .mlqa import MLQAMetric
from .squad import SquadMetric
from .squad_v2 import SquadV2Metric

__all__ = ["MLQAMetric", "SquadMetric", "SquadV2Metric"]
