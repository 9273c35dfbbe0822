"""Checks of the folder, the tokenizer and the weights of a local model.

They refuse what `transformers` accepts with a warning or explains in terms of its internals. Each raises
`EngineStartError` without the folder's name, which agents/engines/local/loading.py adds.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError, safe_open
from transformers.quantizers import AutoHfQuantizer

from agents.engines import installed
from agents.engines.base import EngineStartError, first_line
from agents.models.weights import SETTINGS, TOKENIZERS, weights_of

POINTER = b"version https://git-lfs.github.com/"
"""Beginning of the text file that replaces a large file until `git lfs pull` has fetched it."""
COMPLETES_TEXT = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
"""Endings of the names of architectures that complete texts."""
SENTENCEPIECE = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model")
TIKTOKEN_LINE = re.compile(rb"[A-Za-z0-9+/=]+ \d+\r?\n")
OTHER_SENSES = ("image_token", "audio_token", "video_token")
"""Names of tokens for images and sound; no prompt of a class uses them."""
OWN_CODE = "contains custom code"
"""Part of the error text of transformers if it would have to run code of the folder."""
FETCH = "fetch the model again"


def check_files(folder: Path) -> None:
    """Refuse a folder with missing or incomplete files."""
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise EngineStartError(
            "it holds no *.safetensors: other weight files may hold code and are not read"
            if any(folder.iterdir())
            else f"it is empty: no *.safetensors\n{FETCH}"
        )
    if not (folder / "config.json").is_file():
        raise EngineStartError(f"config.json is missing\n{FETCH}")
    # Without its file, `transformers` creates some tokenizers with almost no tokens.
    if not any((folder / name).is_file() for name in (*TOKENIZERS, *SENTENCEPIECE)):
        raise EngineStartError(f"it holds no tokenizer (such as tokenizer.json)\n{FETCH}")
    settings = [folder / name for name in (*SETTINGS, *SENTENCEPIECE) if (folder / name).is_file()]
    if (folder / "model.safetensors.index.json").is_file():  # then no engine reads the copy in Mistral's format
        weights = [file for file in weights if not file.name.startswith("consolidated")]
    for file in (*settings, *weights):
        with file.open("rb") as opened:
            if opened.read(len(POINTER)) == POINTER:
                raise EngineStartError(
                    f"{file.name} is a Git LFS pointer, not the file itself\n"
                    f"run `git lfs pull` in the folder, or {FETCH}"
                )
    for file in (file for file in settings if file.suffix == ".json"):
        try:
            json.loads(file.read_bytes())  # as transformers reads them: NaN and Infinity are numbers
        except ValueError as error:
            raise EngineStartError(f"{file.name} is damaged: {error}\n{FETCH}") from error
    if package := _missing_package(folder):
        raise EngineStartError(f"its tokenizer is read by a package that is not installed\npip install {package}")
    for file in weights:
        try:
            with safe_open(file, "pt"):
                pass
        except SafetensorError as error:
            size = file.stat().st_size
            raise EngineStartError(
                f"{file.name} cannot be loaded: it is damaged, or {size:,} bytes are not all of it ({error})\n{FETCH}"
            ) from error


def check_config(config: Any) -> None:
    """Refuse a model that does not complete texts."""
    names: Sequence[str] = config.architectures or ()
    if config.is_encoder_decoder or (names and not any(name.endswith(COMPLETES_TEXT) for name in names)):
        name = names[0] if names else type(config).__name__
        raise EngineStartError(
            f"the architecture {name} is not supported: it does not complete texts\n"
            "take a chat model, for which config.json names an architecture ...ForCausalLM"
        )
    text = config.get_text_config()
    if (pad := text.pad_token_id) is not None and pad >= text.vocab_size:
        raise EngineStartError(
            f"config.json names the padding token {pad}, and the model has {text.vocab_size} tokens\n"
            "correct pad_token_id there"
        )


def check_supported(config: Any) -> None:
    """Refuse a model that `AutoModelForCausalLM` cannot load as intended."""
    if type(config) not in transformers.MODEL_FOR_CAUSAL_LM_MAPPING:
        name = (config.architectures or [type(config).__name__])[0]
        raise EngineStartError(
            f"the architecture {name} is not supported by engine: transformers, which loads models for text alone\n"
            "take a model for text, or engine: vllm, which knows more architectures"
        )
    if (method := quantization_of(config)) and not AutoHfQuantizer.supports_quant_method(config.quantization_config):
        raise EngineStartError(
            f"its weights are quantized ({method}), in a way that engine: transformers does not read\n"
            "take this model without quantization, or engine: vllm on a GPU"
        )


def quantization_of(config: Any) -> str:
    """Return the method with which the weights are quantized, such as `gptq`; empty if they are not."""
    quantized = getattr(config, "quantization_config", None) or {}
    method = quantized.get("quant_method") if isinstance(quantized, dict) else quantized.quant_method
    return "" if method is None else str(getattr(method, "value", method))


def check_tokens(tokenizer: Any, ends: int | Sequence[int] | None, vocabulary: int) -> None:
    """Refuse tokens without an embedding.

    Args:
        tokenizer: tokenizer of the model.
        ends: end tokens of its generation config.
        vocabulary: number of tokens of the embedding.
    """
    # Gemma 3 1B shares its tokenizer with vision models, and has no embedding for images.
    unused = {token for name, token in tokenizer.special_tokens_map.items() if name in OTHER_SENSES}
    beyond = sorted(
        (id_, token) for token, id_ in tokenizer.get_vocab().items() if id_ >= vocabulary and token not in unused
    )
    if beyond:
        (id_, token), others = beyond[0], f" and {len(beyond) - 1} more" if len(beyond) > 1 else ""
        raise EngineStartError(
            f"its tokenizer has the token {token!r} (id {id_}){others}, and its embedding has only {vocabulary} rows\n"
            "take the tokenizer that belongs to these weights, or resize the embedding and save the model again"
        )
    for end in [ends] if isinstance(ends, int) else ends or ():
        if not 0 <= end < vocabulary:
            raise EngineStartError(
                f"its generation config names the end token {end}, and the model has {vocabulary} tokens\n"
                "correct eos_token_id in generation_config.json, or in config.json"
            )


def check_loaded(found: dict[str, Any], model: Any) -> None:
    """Refuse a model with missing weights, which `transformers` would fill with random numbers.

    Args:
        found: loading info of `from_pretrained`.
        model: the model that it returned.
    """
    if missing := sorted(found["missing_keys"]):
        tied = "; if it is the embedding, config.json must say tie_word_embeddings: true"
        raise EngineStartError(
            f"its files hold no {_first(missing)}, which {type(model).__name__} needs\n"
            f"{FETCH}{tied if missing == ['lm_head.weight'] else ', or correct config.json'}"
        )
    if wrong := sorted(found["mismatched_keys"]):
        name, there, needed = wrong[0]
        raise EngineStartError(
            f"its files and config.json do not fit: {name} has the shape {list(there)}, and {list(needed)} is needed\n"
            f"{FETCH}, or correct config.json"
        )


def check_numbers(model: Any) -> None:
    """Refuse a model with weights that are NaN or infinite. Quantized weights are not checked."""
    for name, parameter in model.named_parameters():
        if not _finite(parameter.detach()):
            # float16 ends at 65504, bfloat16 and float32 do not.
            narrow = f", or take dtype: float32 in place of {model.dtype}" if model.dtype == torch.float16 else ""
            raise EngineStartError(f"its weights are broken: {name} holds NaN or infinity\n{FETCH}{narrow}")


def check_numbers_in_files(folder: Path) -> None:
    """Check the weights in the files, for engines that load them in another process."""
    for file in weights_of(folder):
        with safe_open(folder / file, "pt") as opened:
            for name in opened.keys():  # noqa: SIM118  (no mapping)
                tensor = opened.get_tensor(name)
                # Old files keep masks as scalars, which are -inf in float16 and no weights.
                if tensor.ndim and not _finite(tensor):
                    raise EngineStartError(f"its weights are broken: {name} holds NaN or infinity\n{FETCH}")


def _finite(tensor: torch.Tensor) -> bool:
    if not tensor.numel() or tensor.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        return True
    # Several times as fast as testing each number; a NaN is both minimum and maximum.
    return all(bool(bound.isfinite()) for bound in tensor.aminmax())


def tokenizer_error(error: Exception) -> EngineStartError:
    """Return why a tokenizer cannot be read, and what to do."""
    if OWN_CODE in str(error):
        return own_code("tokenizer")
    return EngineStartError(
        f"its tokenizer cannot be read: {first_line(error)}\n{FETCH}, or take one with a tokenizer.json"
    )


def own_code(what: str) -> EngineStartError:
    """Return the error for a model that needs code of its folder."""
    return EngineStartError(
        f"its {what} is not supported: it is code that comes with the weights, and such code is never run\n"
        "take a model that transformers knows by itself"
    )


def _missing_package(folder: Path) -> str:
    """Return the packages to install for the tokenizer of `folder`; empty if none is missing."""
    if (folder / "tokenizer.json").is_file():
        return ""
    if (folder / "tekken.json").is_file():
        return _not_installed("mistral-common")
    for file in (folder / name for name in SENTENCEPIECE if (folder / name).is_file()):
        with file.open("rb") as opened:
            ranks = TIKTOKEN_LINE.fullmatch(opened.readline(1000))
        return _not_installed("tiktoken") if ranks else _not_installed("sentencepiece", "protobuf")
    return ""


def _not_installed(*packages: str) -> str:
    return " ".join(package for package in packages if not installed(package))


def _first(names: Sequence[str]) -> str:
    return names[0] + (f" (and {len(names) - 1} more)" if len(names) > 1 else "")
