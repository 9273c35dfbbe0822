"""A folder with a model in it: may it be loaded, how large is it, and what is its digest.

Knows files, and neither names of models nor where they come from (agents/models/catalogue.py). Nothing here loads a
weight.
"""

import contextlib
import hashlib
import json
import math
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from broker.errors import ModelError
from broker.files import changeable, if_writable, write_atomically

Progress = Callable[[str, int, int], None]
"""Called with what is going on, bytes done, and bytes in all (0: not known)."""
SETTINGS = (
    "config.json", "generation_config.json", "model.safetensors.index.json",
    "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json", "added_tokens.json",
    "vocab.json", "vocab.txt", "merges.txt", "tekken.json", "chat_template.json", "chat_template.jinja",
)  # fmt: skip
"""Beside the weights, what an engine reads of most models: all of it decides what the model says."""
ALSO_READ = re.compile(r"(?!\.).+\.(json|jinja|model|spm|bpe|tiktoken|tokenizer)|dict\.txt|tokenizer\.model\..+")
"""What it may read of others: vocabularies under other names, configurations for other versions of a library, ..."""
NOT_READ = re.compile(
    r"conversion\.json|trainer_state\.json|(.+_)?results\.json|(video_pre|pre|)processor_config\.json"
    r"|(?!model\.safetensors).+\.index\.json"
)
"""... but for what belongs to trainings, images and other formats."""
TEMPLATES = "additional_chat_templates"
SHARD = re.compile(r"\w[\w.-]*\.safetensors")
REDIRECTIONS = (
    ("config.json", "transformers_weights"), ("config.json", "configuration_files"),
    ("tokenizer_config.json", "fast_tokenizer_files"),
)  # fmt: skip
"""Entries that have transformers read other files than those that it reads by itself, perhaps of other folders."""

BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}
"""Of one number, by dtype."""
TOKEN_VALUES = 0.09
"""Keys and values of one token, per parameter to the power of 2/3, at most: 0.074 in Llama 2 7B, whose heads share
none, 0.081 in Qwen3 0.6B, 0.044 in SmolLM2 135M, 0.016 in Llama 3.1 8B, 0.010 in Qwen2.5 0.5B."""
PICKLED = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"})
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "tekken.json")

ADAPTER = ("adapter_config.json", "adapter_model.safetensors", "base.json")
"""All there is of an adapter; the last says of which weights."""


LONGEST_JSON = 64 << 20
"""Bytes of a file that is read whole; the longest index has some ten thousand lines."""
MOST = 1 << 32
"""More than any length or number of a model."""

_Kind = TypeVar("_Kind")
_State = dict[str, tuple[int, int, int, int]]
"""Of each file: bytes, mtime and ctime in ns, inode. Nobody sets a ctime at will."""


class _Hashed(msgspec.Struct, frozen=True):
    """A folder's digest, and the state of the files it was taken in."""

    files: _State
    digest: str


def cache_folder() -> Path:
    """Where models and digests are kept: $LBT_CACHE, else lbt-classroom in the user's cache folder.

    Raises:
        ModelError: this user has no home folder, and no variable names another; or others could change what lies there.
    """
    user = os.environ.get("XDG_CACHE_HOME", "")
    # By its specification a path that is not absolute does not count.
    user = user if os.path.isabs(user) else "~/.cache"
    name = os.path.expanduser(os.environ.get("LBT_CACHE") or os.path.join(user, "lbt-classroom"))
    if name.startswith("~"):
        raise ModelError(f"no folder for models: {name} needs a home folder, and this user has none\nset LBT_CACHE")
    folder = Path(name).absolute()
    for path in _its_files(folder) if folder.is_dir() else ():
        with contextlib.suppress(FileNotFoundError):  # another process is at work there
            if why := changeable(path, sticky=path == folder.parent):
                close = f"chmod go-w {path}" if path == folder.parent else f"chmod 700 {folder}"
                raise ModelError(
                    f"{path}: {why}, so models in the cache could be exchanged\n"
                    f"close it with `{close}`, or let LBT_CACHE name a folder of your own"
                )
    return folder


def _its_files(cache: Path) -> Iterator[Path]:
    """The folder in which the cache could be moved, the cache, and where others may enter it, all that is in it."""
    yield from (cache.parent, cache)
    if cache.stat().st_mode & 0o077:
        yield from cache.rglob("*")


def cache_part(*names: str) -> Path:
    """A folder within the cache, made if it is missing; the cache itself is made for this user alone.

    Raises:
        ModelError: see `cache_folder`.
        OSError: it cannot be made.
    """
    cache = cache_folder()
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = cache.joinpath(*names)
    part.mkdir(parents=True, exist_ok=True)
    return part


def weights_of(folder: Path) -> tuple[str, ...]:
    """The names of the files with the weights.

    Raises:
        ModelError: the folder is not one that an engine may load.
    """
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        names = tuple(sorted(set(_read(index, _Index).weight_map.values())))
        for name in (name for name in names if not SHARD.fullmatch(name)):
            raise ModelError(f"{index}: {name[:80]!r} is no *.safetensors of this folder{hint(Path(name))}")
    elif (folder / "model.safetensors").is_file():
        names = ("model.safetensors",)
    else:
        raise ModelError(f"{folder}: no model.safetensors in it.{hint(*folder.glob('*'))}")
    for missing in (file for file in (*names, "config.json") if not (folder / file).is_file()):
        raise ModelError(f"{folder}: {missing} is missing")
    if not any((folder / file).is_file() for file in TOKENIZERS):
        raise ModelError(f"{folder}: no tokenizer in it (such as tokenizer.json)")
    if (folder / ADAPTER[0]).exists():
        raise ModelError(
            f"{folder}: holds {ADAPTER[0]} beside a whole model, which engines would merge or not\n"
            "take the adapter out, or merge it into the weights"
        )
    for name, entry in REDIRECTIONS:
        if _json(folder / name).get(entry):
            raise ModelError(f"{folder / name}: {entry} names other files to read; take it out")
    return names


class _Index(msgspec.Struct):
    weight_map: dict[str, str]


def hint(*files: Path) -> str:
    """What to do with weights of another format."""
    if any(file.suffix == ".gguf" for file in files):
        return "\n`python -m agents.models.convert FILE.gguf FOLDER` makes such a folder from a GGUF file."
    if pickled := sorted(file.name for file in files if file.suffix in PICKLED):
        return f"\n{pickled[0]} is pickled: refused, for it can run code when it is loaded. Save it as safetensors."
    return ""


def weights_mb(folder: Path) -> int:
    """Megabytes of weights on the disk."""
    return math.ceil(sum((folder / name).stat().st_size for name in weights_of(folder)) / 1e6)


def context_of(folder: Path) -> int:
    """How many tokens the model was made for; 0: its configuration does not say."""
    length = _config(folder).get("max_position_embeddings")
    return length if type(length) is int and 0 < length < MOST else 0


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
    whole = {name: value for name, value in config.items() if type(value) is int and 0 <= value < MOST}
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
    config = _json(folder / "config.json")
    text = config.get("text_config")
    return {**text, **config} if isinstance(text, dict) else config


def _json(file: Path) -> dict[str, object]:
    """What a file with settings says; empty where it is missing."""
    return _read(file, dict[str, object]) if file.exists() else {}


def _read(file: Path, cls: type[_Kind]) -> _Kind:
    """A JSON file of a model.

    Raises:
        ModelError: it is no `cls`, or too large for one.
    """
    with file.open("rb") as opened:
        data = opened.read(LONGEST_JSON + 1)
    if len(data) > LONGEST_JSON:
        raise ModelError(f"{file}: larger than {LONGEST_JSON >> 20} MB")
    try:
        # As transformers reads it: NaN and Infinity are numbers.
        return msgspec.convert(json.loads(data), cls)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{file}: {error}") from error


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
    return _read(folder / ADAPTER[-1], _Base).base


def _state(folder: Path) -> _State:
    """The files that a digest covers, and their state."""
    if adapter_base(folder):
        names = {*ADAPTER, *(name for name in SETTINGS if (folder / name).is_file())}
    else:
        names = {*weights_of(folder), *_settings(folder)}
    for odd in (name for name in names if not name.isprintable()):
        raise ModelError(f"{folder}: {odd!r} is no name for a file of a model; rename the file, or take it out")
    stats = {name: (folder / name).stat() for name in sorted(names)}
    return {name: (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino) for name, stat in stats.items()}


def _settings(folder: Path) -> set[str]:
    """What an engine may read of a whole model beside the weights that are named."""
    # transformers prefers model.safetensors to an index; vLLM reads every *.safetensors where there is none.
    more = ["model.safetensors"] if (folder / "model.safetensors.index.json").exists() else ["*.safetensors"]
    found = {path for pattern in (*more, f"{TEMPLATES}/*.jinja") for path in folder.glob(pattern)}
    found |= {path for path in folder.iterdir() if path.name in SETTINGS or _is_read(path.name)}
    return {str(path.relative_to(folder)) for path in found if path.is_file()}


def _is_read(name: str) -> bool:
    return bool(ALSO_READ.fullmatch(name)) and not NOT_READ.fullmatch(name)


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
    """SHA-256 over names and contents of all that an engine reads, read again only where a file has changed."""
    if cached := known_digest(folder):
        return cached
    state = _state(folder)
    digest = _sha256(folder, state, progress)
    with if_writable():  # a cache that root keeps for all: read anew each time
        target = cache_part("digests") / _digest_file(folder).name
        write_atomically(target, msgspec.json.encode(_Hashed(state, digest)), sync=False)
    return digest


def fresh_digest(folder: Path) -> str:
    """As `digest_of`, but nothing is remembered, nor taken from memory."""
    return _sha256(folder, _state(folder), lambda label, done, total: None)


def _sha256(folder: Path, state: _State, progress: Progress) -> str:
    whole, done, total = hashlib.sha256(), 0, sum(size for size, *_ in state.values())
    for name, (size, *_) in state.items():
        whole.update(f"{name}\0{size}\0".encode())
        with (folder / name).open("rb") as file:
            while block := file.read(1 << 22):
                whole.update(block)
                done += len(block)
                progress(f"{folder.name}: checking", done, total)
    return whole.hexdigest()
