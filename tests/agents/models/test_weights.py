"""Model folders and caches of somebody else: what is in the digest, what is refused, what was exchanged."""

import errno
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
import transformers

from agents.models import catalogue, convert, weights
from agents.models.catalogue import CatalogueEntry, ensure, resolve
from broker import files
from broker.errors import ModelError

ORDINARY = "ae4fb2f8f7ab5cf8f521c7e96b26711f728512dc4985013919651e762da47a5f"
"""The digest that every version of this program gave to `model_folder`: request ids are made of it."""
INDEX = "model.safetensors.index.json"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LBT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def model_folder(folder: Path, **files: bytes) -> Path:
    """A small folder as engines want it; `__` in a name is a slash, and `_DOT_` a dot."""
    files = {
        "config_DOT_json": b'{"max_position_embeddings": 2048}',
        "model_DOT_safetensors": b"weights" * 1000,
        "tokenizer_DOT_json": b"{}",
    } | files
    for name, content in files.items():
        put(folder / name.replace("__", "/").replace("_DOT_", "."), content)
    return folder


def put(path: Path, content: bytes = b"{}") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


# --- the digest -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "additional_chat_templates/default.jinja", "additional_chat_templates/tool_use.jinja", "chat_template.jinja",
        "generation_config.json", "spiece.model", "tokenizer.model.v3", "tokenizer.4.0.0.json", "config.4.0.0.json",
        "params.json", "hf_quant_config.json", "qwen.tiktoken", "vocab.bpe", "dict.txt", "extra.safetensors",
    ],
)  # fmt: skip
def test_whatever_an_engine_may_read_is_in_the_digest(tmp_path: Path, name: str) -> None:
    folder = model_folder(tmp_path / "model")
    assert ensure(str(folder)).digest == ORDINARY
    put(folder / name)
    assert resolve(str(folder)).digest == ""
    with_it = ensure(str(folder)).digest
    put(folder / name, b"[]")
    assert len({ORDINARY, with_it, ensure(str(folder)).digest}) == 3


@pytest.mark.parametrize(
    "name",
    [
        "README.md", "LICENSE.txt", ".gitattributes", ".cache/huggingface/x.json", "preprocessor_config.json",
        "trainer_state.json", "eval_results.json", "conversion.json", "pytorch_model.bin.index.json",
        "original/params.json", "modeling_own.py", "notes.yaml",
    ],
)  # fmt: skip
def test_what_no_engine_reads_is_not_in_the_digest(tmp_path: Path, name: str) -> None:
    folder = model_folder(tmp_path / "model")
    put(folder / name)
    assert ensure(str(folder)).digest == ORDINARY


def test_both_kinds_of_weights_in_one_folder_are_in_the_digest(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "model", shard_DOT_safetensors=b"part")
    put(folder / INDEX, b'{"weight_map": {"a": "shard.safetensors"}}')
    first = ensure(str(folder)).digest
    put(folder / "model.safetensors", b"other")  # transformers reads this one, vLLM the index
    assert ensure(str(folder)).digest != first


def test_a_file_that_was_exchanged_under_its_old_time_is_read_again(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "model")
    file = folder / "model.safetensors"
    first, was = ensure(str(folder)).digest, file.stat()
    put(file, b"WEIGHTS" * 1000)
    os.utime(file, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert ensure(str(folder)).digest != first


# --- what is refused ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "weights.bin", "../weights.safetensors", "/etc/passwd", "/abs.safetensors", "sub/x.safetensors",
        ".x.safetensors", "..safetensors", "", "x.safetensors\n", "x.safetensors.bin", "a\\b.safetensors",
    ],
)  # fmt: skip
def test_an_index_names_safetensors_of_its_folder_alone(tmp_path: Path, name: str) -> None:
    folder = model_folder(tmp_path / "model")
    put(tmp_path / "weights.safetensors")
    for each in ("weights.bin", "sub/x.safetensors", ".x.safetensors"):
        put(folder / each)
    put(folder / INDEX, msgspec.json.encode({"weight_map": {"a": name, "b": "model.safetensors"}}))
    with pytest.raises(ModelError, match=r"is not a \*\.safetensors of this folder"):
        resolve(str(folder))


def test_shards_with_usual_names_are_taken(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "model", **{"model-00001-of-00002_DOT_safetensors": b"1"})
    put(folder / INDEX, b'{"weight_map": {"a": "model-00001-of-00002.safetensors"}}')
    assert weights.weights_of(folder) == ("model-00001-of-00002.safetensors",)


def test_an_entry_that_leads_nowhere_is_taken(tmp_path: Path) -> None:
    folder = model_folder(
        tmp_path / "model", config_DOT_json=b'{"transformers_weights": null, "max_position_embeddings": 9}'
    )
    assert ensure(str(folder)).context == 9


def test_the_hub_s_cache_of_links_is_taken(tmp_path: Path) -> None:
    blobs = model_folder(tmp_path / "blobs")
    snapshot = tmp_path / "snapshots" / "c0ffee"
    snapshot.mkdir(parents=True)
    for blob in blobs.iterdir():
        (snapshot / blob.name).symlink_to(blob)
    assert ensure(str(snapshot)).digest == ORDINARY
    put(blobs / "model.safetensors", b"exchanged")
    assert ensure(str(snapshot)).digest != ORDINARY


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("adapter_config.json", b"{}", "adapter_config.json beside a whole model"),
        ("config.json", b'{"transformers_weights": "other.safetensors"}', "transformers_weights names other files"),
        ("config.json", b'{"configuration_files": ["config.4.json"]}', "configuration_files names other files"),
        ("tokenizer_config.json", b'{"fast_tokenizer_files": ["/x/tokenizer.4.json"]}', "fast_tokenizer_files names"),
    ],
)
def test_files_that_an_engine_would_be_led_to_are_refused(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    folder = model_folder(tmp_path / "model")
    put(folder / name, content)
    with pytest.raises(ModelError, match=says) as caught:
        ensure(str(folder))
    assert len(str(caught.value).splitlines()) <= 3


@pytest.mark.parametrize("name", ["config.json", INDEX])
def test_settings_that_are_no_settings_are_refused(tmp_path: Path, name: str) -> None:
    folder = model_folder(tmp_path / "model")
    put(folder / name, b'{"weight_map": {"a": "\xe9.safetensors"}}')
    with pytest.raises(ModelError, match=f"{name}: .*utf-8"):
        resolve(str(folder))
    os.truncate(folder / name, 1 << 40)
    with pytest.raises(ModelError, match=f"{name}: larger than"):
        resolve(str(folder))


@pytest.mark.parametrize("name", [b"\xff.safetensors", b"\x1b[31m.safetensors", b"a\n.safetensors"])
def test_a_file_with_a_name_that_no_model_has_is_refused(tmp_path: Path, name: bytes) -> None:
    folder = model_folder(tmp_path / "model")
    put(folder / os.fsdecode(name))
    with pytest.raises(ModelError, match="is not a valid name for a model's file"):
        ensure(str(folder))


@pytest.mark.parametrize("length", [-1, 0, 1 << 62, True])
def test_an_impossible_length_is_no_length(tmp_path: Path, length: int) -> None:
    config = msgspec.json.encode({"max_position_embeddings": length, "num_hidden_layers": length})
    assert ensure(str(model_folder(tmp_path / "model", config_DOT_json=config))).context == 0


def test_weights_cannot_hide_behind_the_files_of_an_adapter(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "model")
    for name in weights.ADAPTER:
        put(folder / name, b'{"base": "0123"}')
    with pytest.raises(ModelError, match="beside a whole model"):
        ensure(str(folder))


# --- a cache that others can change ---------------------------------------------------------------------


def shared(cache: Path) -> None:
    """A cache as others may read it."""
    for part in ("digests", "locks", "models/m"):
        (cache / part).mkdir(parents=True)
    put(cache / "models" / "m" / "config.json")
    for path in (cache, *cache.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


@pytest.mark.parametrize("part", [".", "digests", "models", "models/m", "models/m/config.json"])
@pytest.mark.parametrize("mode", [0o777, 0o775, 0o1777, 0o666])
def test_a_cache_that_others_can_write_is_refused(
    cache: Path, tmp_path: Path, part: str, mode: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_has_no_other_member", lambda gid: False)
    shared(cache)
    folder = model_folder(tmp_path / "model")
    assert weights.cache_folder() == cache
    (cache / part).chmod(mode if mode != 0o666 or (cache / part).is_file() else 0o722)
    with pytest.raises(
        ModelError, match=r"other users can write there, so .*\nclose it with `chmod 700 .*cache`, or let LBT_CACHE"
    ) as caught:
        ensure(str(folder))
    assert len(str(caught.value).splitlines()) <= 3


def test_in_a_cache_that_nobody_else_can_enter_modes_do_not_matter(cache: Path) -> None:
    shared(cache)
    (cache / "models").chmod(0o777)
    cache.chmod(0o700)
    assert weights.cache_folder() == cache


def test_a_cache_in_a_folder_where_others_could_exchange_it_is_refused(cache: Path) -> None:
    shared(cache)
    cache.parent.chmod(0o777)
    with pytest.raises(ModelError, match=f"{cache.parent}: other users can write there"):
        weights.cache_folder()
    cache.parent.chmod(0o1777)
    assert weights.cache_folder() == cache


def test_a_cache_of_another_user_is_refused(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared(cache)
    if os.getuid():
        monkeypatch.setattr(os, "getuid", lambda: 4711)
    else:
        os.chown(cache, 4711, -1)
    with pytest.raises(ModelError, match="belongs to another user"):
        weights.cache_folder()


def test_a_new_cache_is_closed_to_others_whatever_the_umask(cache: Path, tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "model")
    before = os.umask(0)
    try:
        ensure(str(folder))
    finally:
        os.umask(before)
    assert cache.stat().st_mode & 0o777 == 0o700
    assert resolve(str(folder)).digest == ORDINARY


def test_a_read_only_cache_is_read_and_its_models_are_hashed_each_time(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    shared(cache)
    folder = model_folder(tmp_path / "model")
    monkeypatch.setattr(weights, "write_atomically", refuse)
    assert ensure(str(folder)).digest == ORDINARY
    assert resolve(str(folder)).digest == ""


def test_a_lock_file_that_is_a_link_is_refused_and_leads_to_no_harm(tmp_path: Path) -> None:
    precious, lock = tmp_path / "precious", tmp_path / "lock"
    put(precious, b"text")
    lock.symlink_to(precious)
    with pytest.raises(OSError, match="lock"), files.locked(lock, lambda: None):
        pass
    assert precious.read_bytes() == b"text"
    with files.locked(precious, lambda: None):
        assert precious.read_bytes() == b"text"


# --- converted models -----------------------------------------------------------------------------------


@pytest.fixture
def converted(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model of the catalogue, as its conversion leaves it."""
    entry = CatalogueEntry("Tiny", "MIT", 7, "5" * 64, (), 1)
    monkeypatch.setattr(catalogue, "CATALOGUE", {"tiny": entry})
    folder = cache / "models" / "tiny"
    convert._publish(model_folder(cache / "models" / "tiny.partial"), folder, entry.sha256)
    return folder


def test_a_converted_model_that_was_changed_is_refused(converted: Path) -> None:
    assert ensure("tiny").folder == converted
    was = (converted / "model.safetensors").stat()
    put(converted / "model.safetensors", b"WEIGHTS" * 1000)
    os.utime(converted / "model.safetensors", ns=(was.st_atime_ns, was.st_mtime_ns))
    with pytest.raises(ModelError, match="not those that were converted\nremove it"):
        ensure("tiny")


def test_a_converted_model_that_was_added_to_is_refused(converted: Path) -> None:
    put(converted / "additional_chat_templates" / "default.jinja")
    with pytest.raises(ModelError, match="not those that were converted"):
        ensure("tiny")


def test_a_model_converted_by_an_earlier_version_is_compared_from_its_first_use_on(converted: Path) -> None:
    marker = msgspec.json.decode((converted / convert.MARKER).read_bytes())
    del marker["digest"]
    put(converted / convert.MARKER, msgspec.json.encode(marker))
    ensure("tiny")
    ensure("tiny")
    put(converted / "tokenizer.json", b"[]")
    with pytest.raises(ModelError, match="not those that were converted"):
        ensure("tiny")


def test_a_conversion_reads_the_gguf_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`auto_map` in a tokenizer_config.json beside it would have transformers ask whether to run the code there."""
    source = tmp_path / "downloads" / "model.gguf"
    put(source, b"GGUF")
    put(source.with_name("tokenizer_config.json"), b'{"auto_map": {"AutoTokenizer": ["own.Own", null]}}')
    put(source.with_name("own.py"), b"raise SystemExit")

    def read(folder: str, **options: Any) -> None:
        assert os.listdir(folder) == ["model.gguf"]
        assert (Path(folder) / "model.gguf").read_bytes() == b"GGUF"
        assert (options["trust_remote_code"], options["local_files_only"]) == (False, True)
        raise ValueError("read")

    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", read)
    with pytest.raises(ValueError, match="read"):
        convert.convert(source, tmp_path / "folder")
