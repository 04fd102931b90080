"""Figures of the analyses, by what their axes show."""

from hf_seqreptile.analysis.drawing import Curve, Panel, draw_curves


def test_what_is_counted_has_no_halves() -> None:
    panels = [Panel("phase", "found", [Curve("a", places, [1.0] * len(places))]) for places in ([0, 1], [0.0, 1.0])]
    figure = draw_curves("", panels, ["a"])
    counted, measured = ([tick % 1 for tick in axes.get_xticks()] for axes in figure.axes)
    assert not any(counted) and any(measured)
