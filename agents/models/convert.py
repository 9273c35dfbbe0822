"""Convert a GGUF file to a folder with bf16 safetensors, configuration and tokenizer.

Runs as a process of its own, so that its parent need not import torch; by hand it is `python -m agents.models.convert
FILE.gguf FOLDER`. The folder appears only when it is complete, with a marker about its source and its files.
"""

import hashlib
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from agents.models.weights import digest_of, fresh_digest
from broker.child_process import receive
from broker.errors import ModelError
from broker.files import if_writable

CONVERSION = "bf16-1"
"""Change it when the same file would give other weights or another tokenizer: old folders are then converted again."""
MARKER = "conversion.json"
SAME_MATRIX = 0.1
"""Relative difference below which input and output embeddings count as one matrix in two precisions."""


class ConvertJob(msgspec.Struct, frozen=True):
    """Source file and target folder of a conversion."""

    source: str
    folder: str


class Marker(msgspec.Struct, frozen=True):
    """The marker of a converted folder."""

    source_sha256: str
    conversion: str
    files: dict[str, int]
    """Bytes of each file, to detect truncated files."""
    digest: str = ""
    """Digest of agents/models/weights.py; empty: written by an earlier version."""


def is_whole(folder: Path, source_sha256: str) -> bool:
    """Whether a folder holds a complete conversion of a file, by file sizes."""
    try:
        marker = _marker(folder)
        sizes = {name: (folder / name).stat().st_size for name in marker.files}
    except (OSError, msgspec.DecodeError):
        return False
    return (marker.source_sha256, marker.conversion, marker.files) == (source_sha256, CONVERSION, sizes)


def check(folder: Path) -> None:
    """Compare the contents of a converted folder with its marker.

    Raises:
        ModelError: the contents have changed.
    """
    marker, found = _marker(folder), digest_of(folder)
    if marker.digest not in ("", found):
        raise ModelError(f"{folder}: its files are not those that were converted\nremove it to have them made again")
    if not marker.digest:  # from an earlier version; record the digest for the next check
        with if_writable():
            (folder / MARKER).write_bytes(msgspec.json.encode(msgspec.structs.replace(marker, digest=found)))


def _marker(folder: Path) -> Marker:
    return msgspec.json.decode((folder / MARKER).read_bytes(), type=Marker)


def convert(source: Path, folder: Path) -> None:
    """Convert the GGUF file `source` to `folder`, replacing it.

    Raises:
        ValueError: the file has no complete model with a chat template.
    """
    import torch
    import transformers

    from agents.engines.local.loading import LOCAL

    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    options: dict[str, Any] = dict(LOCAL)
    # Newer releases may keep packed weights; older ones always unpack, and lack this name.
    if config := getattr(transformers, "GgufConfig", None):
        options["quantization_config"] = config(dequantize=True)
    # Files beside the GGUF file may name code or another tokenizer.
    with tempfile.TemporaryDirectory() as alone:
        Path(alone, source.name).symlink_to(source.resolve())
        model, loading = transformers.AutoModelForCausalLM.from_pretrained(
            alone, gguf_file=source.name, dtype=torch.bfloat16, output_loading_info=True, **options
        )
        tokenizer = transformers.AutoTokenizer.from_pretrained(alone, gguf_file=source.name, **LOCAL)
    if missing := sorted(loading["missing_keys"]):
        raise ValueError(f"without {len(missing)} of the model's tensors, such as {missing[0]}")
    if not tokenizer.chat_template:
        raise ValueError("no chat template; only models made for conversation can teach or learn here")
    _forget_the_file(model)
    _tie(model)
    _end_at_end_of_document(model, tokenizer)
    model.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    _check(partial)
    with source.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    _publish(partial, folder, sha256)


def _forget_the_file(model: Any) -> None:
    """Remove all signs of quantization: the weights are plain now."""
    model.hf_quantizer = None
    model.is_quantized = False
    for name in ("quantization_config", "_model_name_or_path"):
        if hasattr(model.config, name):
            delattr(model.config, name)


def _tie(model: Any) -> None:
    """If the file holds the same embeddings twice, keep the output's, which are more precise."""
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    if head.weight is embedding.weight or head.weight.shape != embedding.weight.shape:
        return
    difference = (embedding.weight - head.weight).float().norm() / head.weight.float().norm()
    if difference < SAME_MATRIX:
        embedding.weight = head.weight
        model.config.tie_word_embeddings = True
        model.tie_weights()


def _end_at_end_of_document(model: Any, tokenizer: Any) -> None:
    """Add the end token of documents, with which small models also end; a GGUF file names only that of turns."""
    ends = [tokenizer.eos_token_id]
    document = tokenizer.get_vocab().get("<|endoftext|>")
    if document is not None and document not in ends:
        ends.append(document)
    model.generation_config = type(model.generation_config)(
        bos_token_id=tokenizer.bos_token_id, eos_token_id=ends, pad_token_id=tokenizer.pad_token_id
    )


def _check(folder: Path) -> None:
    """Check that the written files are what engines expect, for any release of transformers."""
    from safetensors import safe_open

    config = json.loads((folder / "config.json").read_text())
    if "quantization_config" in config:
        raise ValueError(f"{folder}: the configuration still calls the weights quantized")
    for file in folder.glob("*.safetensors"):
        with safe_open(file, framework="pt") as tensors:
            names = list(tensors.keys())
            kinds = {tensors.get_slice(name).get_dtype() for name in names}
        if kinds != {"BF16"}:
            raise ValueError(f"{file}: tensors of {', '.join(sorted(kinds))}, where only BF16 should be")
        if config["tie_word_embeddings"] and "lm_head.weight" in names:
            raise ValueError(f"{file}: the output embeddings are there twice")


def _publish(partial: Path, folder: Path, sha256: str) -> None:
    """Sync all files to the disk, then rename the folder."""
    files = {}
    for path in sorted(partial.iterdir()):
        path.chmod(0o644)
        files[path.name] = path.stat().st_size
    marker = Marker(sha256, CONVERSION, files, fresh_digest(partial))
    (partial / MARKER).write_bytes(msgspec.json.encode(marker))
    for path in (*partial.iterdir(), partial):
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def main() -> None:
    """Convert for the command line, or a job of the parent process."""
    if len(sys.argv) == 3:
        job = ConvertJob(sys.argv[1], sys.argv[2])
    elif len(sys.argv) == 1:
        job = receive(ConvertJob)
    else:
        raise SystemExit("usage: python -m agents.models.convert FILE.gguf FOLDER")
    try:
        convert(Path(job.source).absolute(), Path(job.folder).absolute())
    except Exception as error:  # the libraries raise anything for a damaged file
        raise SystemExit(f"ERROR: {job.source}: {type(error).__name__}: {error}") from error


if __name__ == "__main__":
    main()
