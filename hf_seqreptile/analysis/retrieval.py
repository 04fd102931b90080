"""How well the encoder still finds translations: what it forgot of how languages relate, without a new head."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import torch
from matplotlib.figure import Figure
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from ..data.sample import SENTENCES_PIVOT
from ..embeddings.sentence_embeddings import check_layers
from ..errors import InputError
from ..retrieval.accuracy import Accuracy, retrieval_accuracy
from ..retrieval.hub_pairs import sample_pairs
from ..retrieval.pairs import PAIRS, Pair, read_pairs
from .drawing import RowPanel, draw_rows
from .encoders import Encoder, load_start, runs_with_encoders
from .groups import Group
from .masked_language_model import tokenize
from .results import Result
from .runs import SavedRun

NAME = "retrieval"
TITLE = "Retrieval of translations"
CAPTION = (
    "How often a sentence's nearest neighbour in the other language is its translation, by the cosine of the mean "
    "hidden states after {layer}, on {source}: the mean over {pairs} pairs of languages and both directions. The "
    "black mark is the start encoder; left of it, something was forgotten. A trimmed vocabulary has the start's other "
    "tokens back. Small points are seeds, the large one their mean.{unknown}"
)
UNKNOWN = " Unknown tokens: {}."
NOTABLE = 0.001
"""A share of unknown tokens from which on the caption mentions it."""
LAYER = "--layer"


@dataclass(frozen=True)
class ParallelTexts:
    """Pairs of languages to measure on.

    Args:
        pairs: by name; where that is a language's, the other one is English.
        source: what they are, for captions.
    """

    pairs: Mapping[str, Pair]
    source: str


def read_parallel_texts(items: Sequence[str] | None) -> ParallelTexts:
    """The user's files, `name=source,target`, or the bundled sentences; InputError for files that are no pairs."""
    if items is None:
        return ParallelTexts(sample_pairs(None), "the bundled sentences")
    pairs = read_pairs(items)
    for name, pair in pairs.items():
        if pair.gold is not None:
            raise InputError(f"{PAIRS}, pair {name!r}: three files are for mining; give source,target.")
    return ParallelTexts(pairs, "the given files")


class RetrievalRuler:
    """What encoders that began at one start find, under its tokenizer and in its whole vocabulary.

    Args:
        start: the start.
        texts: pairs of languages.
        layer: whose states are compared, by the number of blocks before it. Default: the last.
    """

    def __init__(self, start: Encoder, texts: ParallelTexts, layer: int | None = None) -> None:
        self.start, self.texts, self.layer = start, texts, layer
        self.model: PreTrainedModel = AutoModel.from_pretrained(start.path, dtype=torch.float32)
        self.tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(start.path)

    def measure(self, encoder: Encoder) -> dict[str, Accuracy]:
        """Both directions' accuracy of each pair.

        Raises:
            InputError: an encoder that did not begin at the start.
        """
        weights = encoder.with_whole_vocabulary(self.start).weights
        try:
            left = self.model.load_state_dict(dict(weights), strict=False)
        except RuntimeError as error:
            raise InputError(f"{encoder.path} has weights of other shapes than its start.") from error
        # Not every checkpoint has a pooler, and it comes after the hidden states.
        lacking = [name for name, _ in self.model.named_parameters() if name in left.missing_keys]
        if lacking := [name for name in lacking if not name.startswith("pooler.")]:
            raise InputError(f"{encoder.path} lacks {lacking[0]}, which its start or its run has.")
        pairs = {name: (pair.source, pair.target) for name, pair in self.texts.pairs.items()}
        return retrieval_accuracy(self.model, pairs, self.tokenizer, layer=self.layer)

    def unknown(self) -> dict[str, float]:
        """The share of unknown tokens in each pair."""
        return {
            name: tokenize([*pair.source, *pair.target], self.tokenizer)[1] for name, pair in self.texts.pairs.items()
        }


def retrieval(
    groups: Sequence[Group], texts: ParallelTexts, base_model: str | None = None, layer: int | None = None
) -> Result:
    """How often each run's encoder finds a sentence's translation, beside its start.

    Args:
        groups: the runs.
        texts: pairs of languages.
        base_model: what all runs started from. Default: what each run's card names.
        layer: whose states are compared, by the number of blocks before it. Default: the last.

    Raises:
        InputError: a layer that the runs' encoders do not have.
    """
    missing: list[str] = []
    rulers: dict[str, RetrievalRuler] = {}
    of_starts: dict[str, dict[str, Accuracy]] = {}
    runs: dict[str, list[dict[str, Any]]] = {}
    for group, run, start, encoder in runs_with_encoders(groups, base_model, missing):
        check_layers(None if layer is None else [layer], AutoConfig.from_pretrained(encoder.path), LAYER)
        try:
            if start not in rulers:
                ruler = RetrievalRuler(load_start(start), texts, layer)
                of_starts[start] = ruler.measure(ruler.start)
                rulers[start] = ruler
            found = rulers[start].measure(encoder)
        except InputError as error:
            missing.append(f"{run.folder}: {error}")
            continue
        runs.setdefault(group.label, []).append(_of_run(run, found, of_starts[start]))
    of_rulers = [ruler.unknown() for ruler in rulers.values()]
    unknown = {name: max(found[name] for found in of_rulers) for name in texts.pairs if rulers}
    shares = [f"{name} {share:.1%}" for name, share in unknown.items() if share >= NOTABLE]
    caption = CAPTION.format(
        layer="the last block" if layer is None else f"block {layer}",
        source=texts.source,
        pairs=len(texts.pairs),
        unknown=UNKNOWN.format(", ".join(shares)) if shares else "",
    )
    if not runs:
        return Result(NAME, TITLE, caption, {}, missing, None)
    numbers = {"texts": texts.source, "layer": layer, "share_of_unknown_tokens": unknown, "runs": runs}
    figure = _draw(runs, [group.label for group in groups])
    return Result(NAME, TITLE, caption, numbers, missing, figure, _headlines(runs))


def _of_run(run: SavedRun, found: Mapping[str, Accuracy], of_start: Mapping[str, Accuracy]) -> dict[str, Any]:
    trained = {*run.tasks, *run.languages} - {SENTENCES_PIVOT}
    parts = {
        "all": list(found),
        "seen": [name for name in found if name in trained],
        "unseen": [name for name in found if name not in trained],
    }
    means = {
        part: {"accuracy": fmean(found[n].mean for n in names), "start": fmean(of_start[n].mean for n in names)}
        for part, names in parts.items()
        if names
    }
    pairs = {
        name: {
            "source_to_target": accuracy.source_to_target,
            "target_to_source": accuracy.target_to_source,
            "start": {
                "source_to_target": of_start[name].source_to_target,
                "target_to_source": of_start[name].target_to_source,
            },
        }
        for name, accuracy in found.items()
    }
    return {"seed": run.seed, "pairs": pairs, **means}


def _headlines(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, dict[str, float]]:
    values = {label: 100 * fmean(run["all"]["accuracy"] for run in of_label) for label, of_label in runs.items()}
    # Another start finds other translations, so that no one number is the start's.
    starts = {run["all"]["start"] for of_label in runs.values() for run in of_label}
    return {"retrieval (%)": values | ({"start encoder": 100 * starts.pop()} if len(starts) == 1 else {})}


def _draw(runs: Mapping[str, Sequence[Mapping[str, Any]]], order: Sequence[str]) -> Figure:
    values = {label: [100 * run["all"]["accuracy"] for run in of_label] for label, of_label in runs.items()}
    starts = {label: 100 * of_label[0]["all"]["start"] for label, of_label in runs.items()}
    panel = RowPanel("translations found (%)", values, starts)
    return draw_rows(TITLE, [panel], order, reference="start encoder")
