"""Scores and differences in words: in percent, with their intervals."""

import math

from .differences import Estimate


def interval(estimate: Estimate, signed: bool = False) -> str:
    """`75.8 (74.9 to 76.6)`, in percent, within what a score can be; a difference with its sign."""
    value = percent(estimate.value, signed)
    if math.isnan(estimate.low):
        return value
    low, high = (estimate.low, estimate.high) if signed else (max(estimate.low, 0.0), min(estimate.high, 1.0))
    return f"{value} ({percent(low, signed)} to {percent(high, signed)})"


def percent(value: float, signed: bool = False) -> str:
    """A fraction in percent, with one decimal."""
    text = f"{100 * value:+.1f}" if signed else f"{100 * value:.1f}"
    return text.replace("-", "−")
