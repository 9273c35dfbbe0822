"""Models that cannot serve are refused when they are loaded: in one sentence, with the folder and what to do."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from agents.engines.base import EngineStartError
from agents.engines.chat import Chat
from agents.engines.local import loading, model_checks
from agents.engines.local.loading import check_numbers, explain, load, pick_device
from agents.models.weights import context_of
from agents.training.model import device_of, language_of
from agents.training.run import train
from agents.training.spec import TrainingFailed
from tests.agents.engines.local.test_engine import TEMPLATE, save, start_error, tokenizer
from tests.agents.engines.vllm.test_engine import SETTINGS
from tests.agents.training.training_at_hand import spec

WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("whole"), "llama")


@pytest.fixture
def model(whole: Path, tmp_path: Path) -> Path:
    """A model that loads, to be spoilt."""
    return Path(shutil.copytree(whole, tmp_path / "model"))


def refused(folder: Path, **changes: Any) -> str:
    """Why the engine does not start with this model."""
    said = start_error(folder, **{"dtype": "float32", **changes})
    assert said.startswith(str(folder))
    return said.removeprefix(str(folder))


@torch.inference_mode()
def loaded(folder: Path) -> Chat:
    return load(folder, torch.device("cpu"), torch.float32)[0]


def edit(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def edit_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS, {"format": "pt"})


# --- files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [WEIGHTS, "tokenizer.json", "config.json"])
def test_a_git_lfs_pointer_in_place_of_a_file_is_called_by_its_name(model: Path, name: str) -> None:
    oid = "a" * 64
    (model / name).write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize 988097824\n")
    assert refused(model).startswith(f": {name} is a Git LFS pointer, not the file itself\nrun `git lfs pull`")


@pytest.mark.parametrize("size", [0, 4, 100, -1000])
def test_weights_that_are_cut_off_are_named_and_fetched_again(model: Path, size: int) -> None:
    whole = (model / WEIGHTS).read_bytes()
    (model / WEIGHTS).write_bytes(whole[:size])
    said = refused(model)
    assert f"{WEIGHTS} cannot be loaded: it is damaged, or" in said and said.endswith("fetch the model again")


@pytest.mark.parametrize("content", [b"<!DOCTYPE html><p>Not found</p>", bytes(400)])
def test_another_file_under_the_name_of_the_weights_is_refused(model: Path, content: bytes) -> None:
    (model / WEIGHTS).write_bytes(content)
    assert f"{WEIGHTS} cannot be loaded" in refused(model)


def test_an_empty_folder_and_missing_or_damaged_settings_are_told_apart(model: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert refused(tmp_path / "empty").startswith(": it is empty")
    (model / "tokenizer.json").write_text('{"model": ')
    assert "tokenizer.json is damaged" in refused(model)
    (model / "config.json").write_text("")
    assert "config.json is damaged" in refused(model)
    (model / "config.json").unlink()
    assert "config.json is missing" in refused(model)


def test_a_model_without_a_generation_config_starts_with_the_end_tokens_of_its_config(model: Path) -> None:
    (model / "generation_config.json").unlink()
    chat = loaded(model)
    assert {256, 258} <= chat.stops


def test_files_that_no_engine_reads_may_be_pointers(model: Path) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\n"
    names = dict.fromkeys(load_file(model / WEIGHTS), "model-00001-of-00001.safetensors")
    (model / WEIGHTS).rename(model / "model-00001-of-00001.safetensors")
    (model / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))
    (model / "consolidated.safetensors").write_bytes(pointer)
    loaded(model)


def test_settings_may_hold_infinity(model: Path) -> None:
    edit(model / "config.json", time_step_limit=[0.0, float("inf")])
    assert "Infinity" in (model / "config.json").read_text()
    assert context_of(model) == 512
    loaded(model)


# --- configuration -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("name", ["LlamaForSequenceClassification", "LlamaModel", "LlamaForTokenClassification"])
def test_a_reward_model_and_its_like_are_refused_though_their_weights_would_load(
    model: Path, name: str, tied: bool
) -> None:
    edit(model / "config.json", architectures=[name], tie_word_embeddings=tied)
    edit_weights(model, lambda tensors: tensors.pop("lm_head.weight"))
    assert f"the architecture {name} is not supported: it does not complete texts" in refused(model)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("bert", "BertForMaskedLM"),
        ("t5", "T5ForConditionalGeneration"),
        ("qwen2_vl", "Qwen2VLForConditionalGeneration"),
        ("whisper", "WhisperForConditionalGeneration"),
    ],
)
def test_an_encoder_and_a_model_that_sees_or_hears_are_refused(model: Path, kind: str, name: str) -> None:
    edit(model / "config.json", model_type=kind, architectures=[name])
    assert f"the architecture {name} is not supported" in refused(model)


def test_code_that_comes_with_the_weights_is_not_run_and_that_is_said(model: Path) -> None:
    (model / "mine.py").write_text("raise SystemExit('this ran')")
    edit(model / "tokenizer_config.json", tokenizer_class="Mine", auto_map={"AutoTokenizer": ["mine.Mine", None]})
    assert "its tokenizer is not supported: it is code that comes with the weights" in refused(model)
    edit(model / "config.json", model_type="mine", auto_map={"AutoConfig": "mine.Config"})
    assert "its architecture is not supported: it is code that comes with the weights" in refused(model)


@pytest.mark.parametrize(
    ("method", "more", "words"),
    [
        ("gptq", {"bits": 4, "group_size": 128}, "optimum"),
        ("awq", {"bits": 4, "group_size": 128, "zero_point": True}, "gptqmodel"),
        ("bitsandbytes", {"load_in_4bit": True}, "bitsandbytes"),
        ("compressed-tensors", {"config_groups": {}}, "compressed-tensors"),
        ("modelopt", {"quant_algo": "NVFP4"}, "in a way that engine: transformers does not read"),
    ],
)
def test_quantized_weights_name_the_package_that_is_missing(
    model: Path, method: str, more: dict[str, Any], words: str
) -> None:
    edit(model / "config.json", quantization_config={"quant_method": method, **more})
    said = refused(model)
    assert f"its weights are quantized ({method})" in said and words in said
    assert "this model without quantization" in said and "fetch" not in said


def test_a_context_beyond_the_models_is_refused_and_one_within_it_is_kept(model: Path) -> None:
    said = start_error(model, dtype="float32", max_context=9999)
    assert said.startswith("max_context: 9999 tokens are more than this model takes (512)")
    config = transformers.AutoConfig.from_pretrained(model)
    assert [loading.context_of(config, limit) for limit in (0, 40, 512)] == [512, 40, 512]


# --- tokens --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("special", [False, True])
def test_tokens_without_an_embedding_are_refused(model: Path, special: bool) -> None:
    own = transformers.AutoTokenizer.from_pretrained(model)
    own.add_tokens(["<think>", "</think>"], special_tokens=special)
    own.save_pretrained(model)
    assert "its tokenizer has the token '<think>' (id 259) and 1 more, and its embedding has only 259 rows" in refused(
        model
    )


def test_a_token_for_images_needs_no_embedding(model: Path) -> None:
    own = transformers.AutoTokenizer.from_pretrained(model)
    own.add_tokens(["<image_soft_token>"], special_tokens=True)
    own.save_pretrained(model)
    edit(model / "tokenizer_config.json", image_token="<image_soft_token>")  # noqa: S106  (no password)
    loaded(model)


def test_an_end_of_turn_that_is_an_ordinary_added_token_ends_a_completion(model: Path) -> None:
    file = model / "tokenizer.json"
    told = json.loads(file.read_text())
    for token in told["added_tokens"]:
        token["special"] = token["content"] == "<|endoftext|>"
    file.write_text(json.dumps(told))
    edit(model / "tokenizer_config.json", additional_special_tokens=[], extra_special_tokens=[])
    transformers.GenerationConfig(eos_token_id=256).save_pretrained(model)
    chat = loaded(model)
    assert chat.tokenizer.all_special_tokens == ["<|endoftext|>"]
    assert chat.stops == {256, 258} and chat.end == 258


@pytest.mark.parametrize("end", [999, 259, -1])
def test_end_tokens_that_the_model_has_not_are_refused(model: Path, end: int) -> None:
    transformers.GenerationConfig(eos_token_id=[256, end]).save_pretrained(model)
    assert f"its generation config names the end token {end}, and the model has 259 tokens" in refused(model)
    (model / "generation_config.json").unlink()
    edit(model / "config.json", eos_token_id=end)
    assert f"names the end token {end}" in refused(model)


def test_a_padding_token_that_the_model_has_not_is_refused(model: Path) -> None:
    edit(model / "config.json", pad_token_id=999)
    assert "config.json names the padding token 999" in refused(model)


@pytest.mark.parametrize(
    ("name", "content", "installed", "wanted"),
    [
        ("tokenizer.model", b"\x0a\x0e\x0a\x05<unk>\x15\x00", (), "pip install sentencepiece protobuf"),
        ("tokenizer.model", b"\x0a\x0e\x0a\x05<unk>\x15\x00", ("sentencepiece",), "pip install protobuf"),
        ("spiece.model", b"\x0a\x0e\x0a\x05<unk>\x15\x00", ("protobuf",), "pip install sentencepiece"),
        ("tokenizer.model", b"IQ== 0\nIg== 1\n", (), "pip install tiktoken"),
        ("tekken.json", b"{}", (), "pip install mistral-common"),
    ],
)
def test_a_package_that_the_tokenizer_wants_is_named(
    model: Path, name: str, content: bytes, installed: tuple[str, ...], wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_checks, "installed", lambda package: "1" if package in installed else "")
    (model / "tokenizer.json").unlink()
    (model / name).write_bytes(content)
    edit(model / "tokenizer_config.json", tokenizer_class="LlamaTokenizer")
    assert refused(model).endswith(f"its tokenizer is read by a package that is not installed\n{wanted}")


@pytest.mark.parametrize("kind", ["LlamaTokenizer", "Qwen2Tokenizer", "PreTrainedTokenizerFast"])
def test_a_tokenizer_without_its_file_is_not_made_from_nothing(model: Path, kind: str) -> None:
    (model / "tokenizer.json").unlink()
    edit(model / "tokenizer_config.json", tokenizer_class=kind)
    assert "it holds no tokenizer" in refused(model)


def test_a_tokenizer_of_an_unknown_class_is_read_from_its_file(model: Path) -> None:
    edit(model / "tokenizer_config.json", tokenizer_class="NonesuchTokenizer")
    assert len(loaded(model).tokenizer) == 259


# --- weights -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["lm_head.weight", "model.embed_tokens.weight", "model.layers.1.mlp.up_proj.weight"])
def test_a_weight_that_no_file_holds_is_not_filled_with_random_numbers(model: Path, name: str, tmp_path: Path) -> None:
    edit_weights(model, lambda tensors: tensors.pop(name))
    said = refused(model)
    assert f"its files hold no {name}, which LlamaForCausalLM needs" in said
    assert ("tie_word_embeddings" in said) == (name == "lm_head.weight")
    with pytest.raises(TrainingFailed, match="its files hold no") as caught:
        train(spec(tmp_path, model), lambda said: None)
    assert caught.value.for_good


def test_an_embedding_that_is_also_the_last_layer_needs_no_weight_of_its_own(tmp_path: Path) -> None:
    config = transformers.LlamaConfig(
        vocab_size=259, hidden_size=64, intermediate_size=96, num_hidden_layers=1, num_attention_heads=4,
        tie_word_embeddings=True, eos_token_id=256, bos_token_id=None,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    assert "lm_head.weight" not in load_file(tmp_path / WEIGHTS)
    loaded(tmp_path)


def test_a_weight_of_another_shape_is_named_with_both_shapes(model: Path) -> None:
    edit_weights(model, lambda tensors: tensors.update({"model.norm.weight": torch.ones(3)}))
    assert "model.norm.weight has the shape [3], and [64] is needed" in refused(model)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("name", ["model.embed_tokens.weight", "model.layers.0.mlp.down_proj.weight", "lm_head.weight"])
def test_one_value_that_is_no_number_is_found_wherever_it_is(model: Path, name: str, value: float) -> None:
    edit_weights(model, lambda tensors: tensors[name][5].fill_(value))
    assert f"its weights are broken: {name} holds NaN or infinity" in refused(model)
    with pytest.raises(EngineStartError, match=f"{model}: its weights are broken: {name}"):
        check_numbers(model)


def test_a_mask_that_old_files_keep_is_no_broken_weight(model: Path) -> None:
    mask = {"attention.masked_bias": torch.tensor(float("-inf"))}
    edit_weights(model, lambda tensors: tensors.update(mask))
    check_numbers(model)
    loaded(model)


def test_weights_beyond_float16_are_refused_in_float16_alone(model: Path) -> None:
    edit_weights(model, lambda tensors: tensors["model.embed_tokens.weight"][5].fill_(1e5))
    check_numbers(model)
    loaded(model)
    assert "take dtype: float32" in refused(model, dtype="float16")


# --- training ------------------------------------------------------------------------------------------------


def test_a_training_without_padding_and_end_token_is_refused(model: Path) -> None:
    own = tokenizer(TEMPLATE)
    own.eos_token = own.pad_token = None
    own.save_pretrained(model)
    with pytest.raises(TrainingFailed, match="a training needs a pad_token or an eos_token") as caught:
        language_of(model)
    assert caught.value.for_good and str(model) in str(caught.value)
    own.eos_token = "<|im_end|>"  # noqa: S105  (no password)
    own.save_pretrained(model)
    language_of(model)


# --- devices -------------------------------------------------------------------------------------------------


def has(monkeypatch: pytest.MonkeyPatch, *, cuda: bool = False, mps: bool = False) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("seat", "cuda", "mps", "device"),
    [
        ("cpu", True, True, "cpu"),
        ("cuda", True, False, "cuda"),
        ("mps", False, True, "mps"),
        ("mps", True, True, "mps"),
        ("", True, False, "cuda"),
        ("", False, False, "cpu"),
    ],
)
def test_the_device_is_that_of_the_seat(
    monkeypatch: pytest.MonkeyPatch, seat: str, cuda: bool, mps: bool, device: str
) -> None:
    monkeypatch.setenv("LBT_DEVICE", seat)
    has(monkeypatch, cuda=cuda, mps=mps)
    assert pick_device().type == device


def test_a_seat_on_a_gpu_is_never_taken_on_the_cpu(
    monkeypatch: pytest.MonkeyPatch, whole: Path, tmp_path: Path
) -> None:
    monkeypatch.setenv("LBT_DEVICE", "cuda")
    monkeypatch.setattr(torch.version, "cuda", None)
    has(monkeypatch)
    said = start_error(whole)
    assert f"this agent runs on a GPU, and torch {torch.__version__} is built for" in said
    assert "pip install --force-reinstall torch" in said and "gpu: none" in said
    with pytest.raises(TrainingFailed, match="this agent runs on a GPU") as caught:
        device_of(spec(tmp_path, whole))
    assert caught.value.for_good


def test_a_driver_that_torch_cannot_use_is_quoted(monkeypatch: pytest.MonkeyPatch, whole: Path) -> None:
    def init() -> None:
        raise RuntimeError("The NVIDIA driver on your system is too old (found version 11040).\nPlease update it")

    monkeypatch.setenv("LBT_DEVICE", "cuda")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "init", init)
    has(monkeypatch)
    said = start_error(whole)
    assert "cannot use it: The NVIDIA driver on your system is too old (found version 11040)." in said
    monkeypatch.setenv("LBT_DEVICE", "mps")
    assert "the Apple GPU" in start_error(whole)


@pytest.mark.parametrize(
    "text",
    [
        "CUDA error: unspecified launch failure\nCUDA kernel errors might be asynchronously reported",
        "CUDA error: uncorrectable ECC error encountered",
        "CUDA-capable device(s) is/are busy or unavailable",
        "NVML: GPU is lost",
    ],
)
def test_a_gpu_that_fails_is_no_fault_of_the_model(text: str) -> None:
    said = str(explain(RuntimeError(text), SETTINGS))
    assert said.startswith(f"some/model: {text.splitlines()[0]}\nlook at nvidia-smi") and "fetch" not in said


@pytest.mark.parametrize("text", ["CUDA out of memory. Tried to allocate 2 GiB", "CUDA error: out of memory"])
def test_a_full_gpu_is_told_apart_from_one_that_fails(text: str) -> None:
    assert "out of memory while loading" in str(explain(RuntimeError(text), SETTINGS))
