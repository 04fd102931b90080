"""The settings of a run, as its model card tells them."""

from collections.abc import Sequence
from typing import Any

from ..scores import markdown_table
from .training_facts import SettingRow


def settings_table(settings: Sequence[SettingRow]) -> str:
    """A Markdown table: what each setting is, its symbol and its value."""
    rows = [[words, symbol, _shown(value)] for words, symbol, value in settings]
    return markdown_table(["setting", "symbol", "value"], rows)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,.10g}" if isinstance(value, (int, float)) else str(getattr(value, "value", value))
