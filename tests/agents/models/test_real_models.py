"""The smallest model of the catalogue, for real: fetched once into the user's cache, converted, and spoken to."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from agents.models.catalogue import CATALOGUE, Model, ensure, resolve
from broker.child_process import ROOT

pytestmark = pytest.mark.models
NAME = "smollm2-135m-instruct"


@pytest.fixture(scope="module")
def model() -> Model:
    return ensure(NAME)


def test_it_is_at_hand_once_it_was_fetched(model: Model) -> None:
    found = resolve(NAME)
    assert found.at_hand
    assert (found.digest, found.size_mb, found.folder) == (model.digest, model.parameters_mb, model.folder)
    assert model.digest.startswith(CATALOGUE[NAME].sha256)
    assert model.context == 8192


def test_its_weights_are_plain_tensors(model: Model) -> None:
    from safetensors import safe_open

    config = json.loads((model.folder / "config.json").read_text())
    assert "quantization_config" not in config
    assert config["tie_word_embeddings"]
    with safe_open(model.folder / "model.safetensors", framework="pt") as tensors:
        names = set(tensors.keys())
        assert {tensors.get_slice(name).get_dtype() for name in names} == {"BF16"}
        assert tensors.get_slice("model.embed_tokens.weight").get_shape() == [49152, 576]
    assert "lm_head.weight" not in names
    assert len(names) == 272


def test_the_folder_has_all_that_engines_look_for(model: Model) -> None:
    there = {file.name for file in model.folder.iterdir()}
    assert there >= {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json"}
    assert json.loads((model.folder / "generation_config.json").read_text())["eos_token_id"] == [2, 0]


def test_it_talks_sense(model: Model) -> None:
    program = f"""
import torch, transformers
torch.set_num_threads(1)
tokenizer = transformers.AutoTokenizer.from_pretrained({str(model.folder)!r})
model = transformers.AutoModelForCausalLM.from_pretrained({str(model.folder)!r}, dtype="auto")
assert model.dtype == torch.bfloat16 and getattr(model, "hf_quantizer", None) is None
assert type(model.model.layers[0].mlp.up_proj) is torch.nn.Linear
turns = [{{"role": "user", "content": "What is the capital of France?"}}]
prompt = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt", return_dict=True)
out = model.generate(**prompt, max_new_tokens=12, do_sample=False)
print(tokenizer.decode(out[0, prompt["input_ids"].shape[1]:], skip_special_tokens=True))
"""
    said = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    assert "Paris" in said.stdout


def test_what_is_no_gguf_file_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF? no")
    command = [sys.executable, "-m", "agents.models.convert", str(tmp_path / "model.gguf"), str(tmp_path / "out")]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert said.returncode == 1
    assert said.stderr.splitlines()[-1].startswith(f"ERROR: {tmp_path / 'model.gguf'}: ")
    assert [file.name for file in tmp_path.iterdir()] == ["model.gguf"]
