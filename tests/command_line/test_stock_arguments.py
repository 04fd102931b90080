"""Every argument of the stock trainer, in every script: it works as there, or is refused by its name."""

from collections.abc import Callable
from dataclasses import fields

import pytest
import torch
from transformers import TrainingArguments

from tests import scripts
from tests.scripts import Place
from tests.stock_arguments import ENTRIES, same_weights, table
from tests.stock_runs import METRICS, SCRIPTS, Seen, place_of, run

IN_MAKE_TEST = {
    "max_grad_norm", "auto_find_batch_size", "per_device_eval_batch_size", "eval_accumulation_steps",
    "remove_unused_columns", "dataloader_drop_last", "dataloader_persistent_workers",
    "metric_for_best_model",
}  # fmt: skip
"""The arguments that are tried without the slow tests, beside those that are refused; in `run_ner` alone."""


@pytest.fixture(scope="module")
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Place:
    return place_of(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def base(place: Place) -> Callable[[str], Seen]:
    """The run without an argument, which several arguments share."""
    runs: dict[tuple, Seen] = {}

    def without(name: str) -> Seen:
        entry = ENTRIES[name]
        key = (entry.base, entry.breaks if entry.code else None)
        if key not in runs:
            breaks = entry.breaks if entry.code else ENTRIES["seed"].breaks
            runs[key] = run(place, f"base-{len(runs)}", entry.base, breaks)
            assert runs[key].code == entry.code, runs[key].err
        return runs[key]

    return without


def test_every_argument_has_an_entry() -> None:
    """A later transformers may bring others."""
    assert ENTRIES.keys() == {one.name for one in fields(TrainingArguments)}


@pytest.mark.parametrize("place", SCRIPTS, indirect=True)
@pytest.mark.parametrize("name", [name for name, entry in ENTRIES.items() if entry.refused])
def test_it_is_refused_by_its_name_when_arguments_are_parsed(place: Place, name: str) -> None:
    entry = ENTRIES[name]
    if not entry.is_refused_by(place.script):
        pytest.skip("this script takes it")
    if entry.on_cpu and torch.accelerator.is_available():
        pytest.skip("has an accelerator")
    seen = run(place, f"refused-{name}", [f"--{name}", *entry.tried])
    assert seen.code == 2 and entry.refused in seen.err and "Traceback" not in seen.err
    assert seen.trainer is None and "Loading weights" not in seen.err and not seen.folder.exists()


WORKING = [
    pytest.param(script, name, marks=() if script == "run_ner" and name in IN_MAKE_TEST else pytest.mark.slow)
    for name, entry in ENTRIES.items() if entry.check for script in METRICS
]  # fmt: skip


@pytest.mark.parametrize(("place", "name"), WORKING, indirect=["place"])
def test_it_does_what_its_entry_says(
    place: Place, base: Callable[[str], Seen], name: str, request: pytest.FixtureRequest
) -> None:
    entry = ENTRIES[name]
    if entry.is_refused_by(place.script):
        pytest.skip("this script refuses it")
    without = base(name)
    value = [argument.replace("BASE", str(without.folder)) for argument in entry.tried]
    seen = run(place, f"with-{name}", [f"--{name}", *value] if value else [], entry.breaks)
    assert seen.code == entry.code, seen.err
    assert entry.check is not None
    check = same_weights if place.script in entry.without_effect_in else entry.check
    check(seen, without)


def test_the_table_of_the_page_is_that_of_the_entries() -> None:
    """Which `python -m tests.stock_arguments` prints."""
    assert table() in (scripts.ROOT / "docs" / "stock_arguments.md").read_text(encoding="utf-8")
