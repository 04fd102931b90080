"""Figures 5a, 5b, 6a and 6b: how much of its language modelling the encoder has forgotten."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from matplotlib.figure import Figure
from tqdm.auto import tqdm
from transformers import AutoTokenizer

from ..errors import InputError
from .drawing import RowPanel, draw_rows
from .encoders import Encoder, load_start, runs_with_encoders
from .fitted_head import fit_head_once
from .groups import Group
from .masked_language_model import mask_texts, masked_losses, model_with_head, set_encoder
from .results import Result
from .runs import SavedRun
from .texts import Texts

NAME = "masked_language_model_loss"
TITLE = "Masked-language-model loss"
CAPTION = (
    "Loss of the fine-tuned encoder under {head}, in nats for each masked token, on {source}: 15 % of the tokens are "
    "masked, the same for every model, special and unknown tokens never (the paper's Figures 5a, 5b, 6a and 6b). The "
    "black mark is the start encoder's own loss; right of it, something was forgotten. Mean over the seen languages, "
    "which the run trained on, and over the unseen ones, each counting the same. Small points are seeds, the large "
    "one their mean.{unknown}"
)
OWN_HEAD = "the base model's own masked-language-model head"
FITTED_HEAD = (
    "a head that was fitted once on the frozen start encoder, since the base model has none for this vocabulary"
)
OTHER_START = "another start or vocabulary than {}, so the losses cannot be compared; analyse it by itself"
NOT_SEEN = "none of the texts' languages ({}) is one of its tasks ({}); name --text_files as the tasks are named"
PARTS = ("seen", "unseen")
UNKNOWN = " Unknown tokens: {}."
NOTABLE = 0.001
"""A share of unknown tokens from which on the caption mentions it."""


class _Ruler:
    """The start's model with its head, the masked texts, and the loss of any encoder under them."""

    def __init__(self, first: Encoder, base_model: str, texts: Texts, runs: int) -> None:
        tokenizer = AutoTokenizer.from_pretrained(first.path)
        self.first, self.base_model = first, base_model
        # Before the texts: without a start there is no use for them.
        self.model, self.has_own_head = model_with_head(load_start(base_model).with_vocabulary_of(first))
        self.texts = mask_texts(texts.measured, tokenizer)
        if not self.has_own_head:
            fit_head_once(self.model, texts.fitted, tokenizer)
        batches = sum(map(len, self.texts.batches.values()))
        self.progress = tqdm(total=batches * (runs + 1), desc=TITLE, unit=" batches")
        self.of_start = masked_losses(self.model, self.texts, self.progress)

    def losses(self, encoder: Encoder, base_model: str) -> dict[str, float]:
        if (base_model, encoder.vocabulary) != (self.base_model, self.first.vocabulary):
            raise InputError(OTHER_START.format(self.first.path))
        set_encoder(self.model, encoder)
        return masked_losses(self.model, self.texts, self.progress)


def forgetting(groups: Sequence[Group], texts: Texts, base_model: str | None = None) -> Result:
    """The masked-language-model loss of each run's encoder, on the languages that it saw and on others.

    Args:
        groups: the runs.
        texts: sentences by language.
        base_model: what all runs started from. Default: what each run's card names.
    """
    missing: list[str] = []
    ruler: _Ruler | None = None
    runs: dict[str, list[dict[str, Any]]] = {}
    for group, run, start, encoder in runs_with_encoders(groups, base_model, missing):
        try:
            ruler = ruler or _Ruler(encoder, start, texts, sum(len(group.runs) for group in groups))
            losses = ruler.losses(encoder, start)
        except InputError as error:
            missing.append(f"{run.folder}: {error}")
            continue
        found = _of_run(run, losses, ruler.of_start)
        runs.setdefault(group.label, []).append(found)
        if "seen" not in found:
            missing.append(f"{run.folder}: {NOT_SEEN.format(', '.join(losses), ', '.join(run.tasks))}")
    if ruler is None:
        return Result(NAME, TITLE, _caption(texts, None), {}, missing, None)
    ruler.progress.close()
    numbers = {
        "head": OWN_HEAD if ruler.has_own_head else FITTED_HEAD,
        "texts": texts.source,
        "masked_tokens": ruler.texts.masked,
        "share_of_unknown_tokens": ruler.texts.unknown,
        "start": ruler.of_start,
        "runs": runs,
    }
    figure = _draw(runs, [group.label for group in groups])
    return Result(NAME, TITLE, _caption(texts, ruler), numbers, missing, figure, _headlines(runs))


def _of_run(run: SavedRun, losses: Mapping[str, float], of_start: Mapping[str, float]) -> dict[str, Any]:
    trained = {*run.tasks, *run.languages}
    parts = {
        "seen": [language for language in losses if language in trained],
        "unseen": [language for language in losses if language not in trained],
    }
    means = {
        part: {"loss": fmean(losses[lang] for lang in langs), "start": fmean(of_start[lang] for lang in langs)}
        for part, langs in parts.items()
        if langs
    }
    return {"seed": run.seed, "losses": dict(losses), **means}


def _headlines(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, dict[str, float]]:
    headlines: dict[str, dict[str, float]] = {}
    for part in PARTS:
        for label, of_label in runs.items():
            if found := [run[part] for run in of_label if part in run]:
                of_part = headlines.setdefault(f"MLM loss, {part}", {})
                of_part[label] = fmean(run["loss"] for run in found)
        # Settings that saw other languages are measured on others, so that no one number is the start's.
        starts = {run[part]["start"] for of_label in runs.values() for run in of_label if part in run}
        if len(starts) == 1:
            headlines[f"MLM loss, {part}"]["start encoder"] = starts.pop()
    return headlines


def _caption(texts: Texts, ruler: _Ruler | None) -> str:
    head, unknown = OWN_HEAD, ""
    if ruler is not None:
        head = OWN_HEAD if ruler.has_own_head else FITTED_HEAD
        shares = [f"{lang} {share:.1%}" for lang, share in ruler.texts.unknown.items() if share >= NOTABLE]
        unknown = UNKNOWN.format(", ".join(shares)) if shares else ""
    return CAPTION.format(head=head, source=texts.source, unknown=unknown)


def _draw(runs: Mapping[str, Sequence[Mapping[str, Any]]], order: Sequence[str]) -> Figure | None:
    panels = []
    for part in PARTS:
        having = {label: [run[part] for run in of_label if part in run] for label, of_label in runs.items()}
        having = {label: of_label for label, of_label in having.items() if of_label}
        if having:
            values = {label: [each["loss"] for each in of_label] for label, of_label in having.items()}
            reference = {label: of_label[0]["start"] for label, of_label in having.items()}
            panels.append(RowPanel(f"loss on {part} languages", values, reference))
    return draw_rows(TITLE, panels, order, reference="start encoder") if panels else None
