"""A folder with a model in it: may it be loaded, how large is it, and what is its digest.

Knows files, and neither names of models nor where they come from (agents/models.py). Nothing here loads a weight.
"""

import hashlib
import math
import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from broker.errors import ModelError

Progress = Callable[[str, int, int], None]
"""Called with what is going on, bytes done, and bytes in all (0: not known)."""
SETTINGS = (
    "config.json", "generation_config.json", "model.safetensors.index.json",
    "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json", "added_tokens.json",
    "vocab.json", "vocab.txt", "merges.txt", "tekken.json", "chat_template.json", "chat_template.jinja",
)  # fmt: skip
"""Beside the weights, what an engine reads of a model: all of it decides what the model says."""

BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}
"""Of one number, by dtype."""
TOKEN_VALUES = 0.09
"""Keys and values of one token, per parameter to the power of 2/3, at most: 0.074 in Llama 2 7B, whose heads share
none, 0.081 in Qwen3 0.6B, 0.044 in SmolLM2 135M, 0.016 in Llama 3.1 8B, 0.010 in Qwen2.5 0.5B."""
PICKLED = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"})
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "tekken.json")

ADAPTER = ("adapter_config.json", "adapter_model.safetensors", "base.json")
"""All there is of an adapter; the last says of which weights."""


class _Hashed(msgspec.Struct, frozen=True):
    """A folder's digest, and the state of the files (bytes, mtime in ns) it was taken in."""

    files: dict[str, tuple[int, int]]
    digest: str


def cache_folder() -> Path:
    """Where models and digests are kept: $LBT_CACHE, else lbt-classroom in the user's cache folder.

    Raises:
        ModelError: this user has no home folder, and no variable names another.
    """
    user = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    folder = os.path.expanduser(os.environ.get("LBT_CACHE") or os.path.join(user, "lbt-classroom"))
    if folder.startswith("~"):
        raise ModelError(f"no folder for models: {folder} needs a home folder, and this user has none\nset LBT_CACHE")
    return Path(folder).absolute()


def weights_of(folder: Path) -> tuple[str, ...]:
    """The names of the files with the weights.

    Raises:
        ModelError: the folder is not one that an engine may load.
    """
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            names = tuple(sorted(set(msgspec.json.decode(index.read_bytes(), type=_Index).weight_map.values())))
        except msgspec.DecodeError as error:
            raise ModelError(f"{index}: {error}") from error
    elif (folder / "model.safetensors").is_file():
        names = ("model.safetensors",)
    else:
        raise ModelError(f"{folder}: no model.safetensors in it.{hint(*folder.glob('*'))}")
    for missing in (file for file in (*names, "config.json") if not (folder / file).is_file()):
        raise ModelError(f"{folder}: {missing} is missing")
    if not any((folder / file).is_file() for file in TOKENIZERS):
        raise ModelError(f"{folder}: no tokenizer in it (such as tokenizer.json)")
    return names


class _Index(msgspec.Struct):
    weight_map: dict[str, str]


def hint(*files: Path) -> str:
    """What to do with weights of another format."""
    if any(file.suffix == ".gguf" for file in files):
        return "\n`python -m agents.convert FILE.gguf FOLDER` makes such a folder from a GGUF file."
    if pickled := sorted(file.name for file in files if file.suffix in PICKLED):
        return f"\n{pickled[0]} is pickled: refused, for it can run code when it is loaded. Save it as safetensors."
    return ""


def weights_mb(folder: Path) -> int:
    """Megabytes of weights on the disk."""
    return math.ceil(sum((folder / name).stat().st_size for name in weights_of(folder)) / 1e6)


def context_of(folder: Path) -> int:
    """How many tokens the model was made for; 0: its configuration does not say."""
    length = _config(folder).get("max_position_embeddings")
    return length if isinstance(length, int) else 0


class Shape(msgspec.Struct, frozen=True):
    """What of a model decides how much memory it takes. 0: its configuration does not say."""

    weight_bytes: int = 0
    """Of one weight on the disk; 0 also where weights are quantized, and stay as they are in memory."""
    token_values: int = 0
    """How many numbers the keys and values of one token are."""
    tied_values: int = 0
    """How many numbers the embedding has, if it is also the last layer."""


def shape_of(folder: Path) -> Shape:
    """The shape of the model in a folder."""
    config = _config(folder)
    whole = {name: value for name, value in config.items() if type(value) is int}
    heads, hidden = whole.get("num_attention_heads", 0), whole.get("hidden_size", 0)
    dim = whole.get("head_dim") or (hidden // heads if heads else 0)
    dtype = str(config.get("dtype") or config.get("torch_dtype"))
    return Shape(
        weight_bytes=0 if "quantization_config" in config else BYTES.get(dtype, 0),
        token_values=2 * whole.get("num_hidden_layers", 0) * whole.get("num_key_value_heads", heads) * dim,
        tied_values=whole.get("vocab_size", 0) * hidden if config.get("tie_word_embeddings") else 0,
    )


def guessed_shape(size_mb: int) -> Shape:
    """The shape of a model of which only its size in bfloat16 is known, with keys and values at their largest.

    A decoder has about 12 * layers * hidden^2 parameters and, if no heads share keys, 2 * layers * hidden keys and
    values for each token: so these grow with the parameters to the power of 2/3.
    """
    return Shape(weight_bytes=2, token_values=int(TOKEN_VALUES * (size_mb * 1e6 / 2) ** (2 / 3)))


def _config(folder: Path) -> dict[str, object]:
    """The model's configuration; of a model that also sees or hears, with that of its language model."""
    try:
        config = msgspec.json.decode((folder / "config.json").read_bytes(), type=dict[str, object])
    except msgspec.DecodeError as error:
        raise ModelError(f"{folder / 'config.json'}: {error}") from error
    text = config.get("text_config")
    return {**text, **config} if isinstance(text, dict) else config


class _Base(msgspec.Struct, frozen=True):
    base: str


def adapter_base(folder: Path) -> str:
    """The digest of the weights that an adapter belongs to; empty: the folder is no adapter.

    Raises:
        ModelError: part of an adapter.
    """
    if not (folder / ADAPTER[-1]).is_file():
        return ""
    for missing in (name for name in ADAPTER if not (folder / name).is_file()):
        raise ModelError(f"{folder}: {missing} is missing")
    try:
        return msgspec.json.decode((folder / ADAPTER[-1]).read_bytes(), type=_Base).base
    except msgspec.DecodeError as error:
        raise ModelError(f"{folder / ADAPTER[-1]} does not say whose adapter it is: {error}") from error


def _state(folder: Path) -> dict[str, tuple[int, int]]:
    files = ADAPTER if adapter_base(folder) else weights_of(folder)
    names = {*files, *(name for name in SETTINGS if (folder / name).is_file())}
    stats = {name: (folder / name).stat() for name in sorted(names)}
    return {name: (stat.st_size, stat.st_mtime_ns) for name, stat in stats.items()}


def _digest_file(folder: Path) -> Path:
    return cache_folder() / "digests" / f"{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:32]}.json"


def known_digest(folder: Path) -> str | None:
    """What was found earlier, if no file has changed since."""
    try:
        hashed = msgspec.json.decode(_digest_file(folder).read_bytes(), type=_Hashed)
    except (OSError, msgspec.DecodeError):
        return None
    return hashed.digest if hashed.files == _state(folder) else None


def digest_of(folder: Path, progress: Progress) -> str:
    """SHA-256 over names and contents of all that an engine reads."""
    if cached := known_digest(folder):
        return cached
    state = _state(folder)
    whole, done, total = hashlib.sha256(), 0, sum(size for size, _ in state.values())
    for name, (size, _) in state.items():
        whole.update(f"{name}\0{size}\0".encode())
        with (folder / name).open("rb") as file:
            while block := file.read(1 << 22):
                whole.update(block)
                done += len(block)
                progress(f"{folder.name}: checking", done, total)
    target = _digest_file(folder)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(f".{os.getpid()}")
    partial.write_bytes(msgspec.json.encode(_Hashed(state, whole.hexdigest())))
    partial.replace(target)
    return whole.hexdigest()
