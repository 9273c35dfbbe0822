import asyncio
import json
import shutil
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from agents.engines.base import Completion, EngineFailure, Prompt
from agents.engines.local.engine import TransformersEngine
from agents.models import trained_weights
from broker.work_messages import Sampling
from tests.agents.engines.local.test_engine import QUESTIONS, by_the_library, prompt, save, with_engine
from tests.agents.models import trained_weights as make

GREEDY = Sampling(temperature=0, max_tokens=12)


class Run(NamedTuple):
    """A base model, and a run's folder with what was trained of it."""

    base: Path
    weights: Path
    adapters: tuple[str, str]
    merged: str
    """Complete weights that say what the first adapter says."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("run")
    base = save(folder / "base", "llama")
    one, added = make.adapter(base, folder / "weights", 1)
    two, _ = make.adapter(base, folder / "weights", 2)
    return Run(base, folder / "weights", (one, two), make.complete(base, folder / "weights", added))


def of(weights: str, sampling: Sampling = GREEDY) -> list[Prompt]:
    return [
        msgspec.structs.replace(prompt(q, sampling, seed), weights=weights, request_id=f"{q}{seed}{weights}")
        for q in QUESTIONS
        for seed in (1, 2)
    ]


def texts(run: Run, prompts: Sequence[Prompt], *, together: bool = True, **changes: Any) -> list[str]:
    async def use(engine: TransformersEngine) -> list[Completion]:
        if together:
            return list(await asyncio.gather(*map(engine.generate, prompts)))
        return [await engine.generate(each) for each in prompts]

    return [c.text for c in with_engine(run.base, use, weights_folder=str(run.weights), **changes)]


# --- what trained weights say --------------------------------------------------------------------------------


def test_an_adapter_says_what_the_model_says_that_it_is_merged_into(run: Run) -> None:
    said = texts(run, of(run.adapters[0]))
    assert said == by_the_library(run.weights / run.merged, of(""))
    assert said == texts(run, of(run.merged))
    assert said != texts(run, of(""))


def test_an_adapter_of_the_library_that_trains_says_what_it_says_there(run: Run, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    import torch
    import transformers

    from agents.models import weights

    base = transformers.AutoModelForCausalLM.from_pretrained(run.base, dtype=torch.float32)
    told = peft.LoraConfig(r=4, lora_alpha=6, target_modules="all-linear", init_lora_weights=False)
    model = peft.get_peft_model(base, told)
    model.save_pretrained(tmp_path / "new")
    (tmp_path / "new" / "base.json").write_text(json.dumps({"base": make.base_digest(run.base)}))
    assert weights.adapter_base(tmp_path / "new")
    digest = make.settle(tmp_path / "new")
    model.merge_and_unload().save_pretrained(tmp_path / "merged")
    for file in (*run.base.glob("token*"), run.base / "chat_template.jinja"):
        (tmp_path / "merged" / file.name).write_bytes(file.read_bytes())
    assert texts(run._replace(weights=tmp_path), of(digest)) == by_the_library(tmp_path / "merged", of(""))


@pytest.mark.parametrize("sampling", [GREEDY, Sampling(temperature=1.0, top_k=20, max_tokens=12)])
def test_weights_that_are_asked_in_turn_each_say_what_they_say_alone(run: Run, sampling: Sampling) -> None:
    held = ["", *run.adapters, run.merged]
    alone = {weights: texts(run, of(weights, sampling)) for weights in held}
    assert len({tuple(said) for said in alone.values()}) == 3  # the merged one says what its adapter says
    for count, together in ((len(of("")), True), (2, False)):
        mixed = list(chain.from_iterable(zip(*(of(weights, sampling)[:count] for weights in held), strict=True)))
        said = texts(run, mixed, together=together)
        assert said == list(chain.from_iterable(zip(*(alone[weights][:count] for weights in held), strict=True)))


def test_in_bfloat16_too(run: Run) -> None:
    held = ["", *run.adapters]
    how: dict[str, Any] = {"together": False, "dtype": "bfloat16", "options": {"prefix_cache_mb": 0}}
    alone = {weights: texts(run, of(weights)[:4], **how) for weights in held}
    assert len({tuple(said) for said in alone.values()}) == 3
    mixed = list(chain.from_iterable(zip(*(of(weights)[:4] for weights in held), strict=True)))
    assert texts(run, mixed, **how) == list(chain.from_iterable(zip(*(alone[w] for w in held), strict=True)))


def test_weights_in_float32_say_in_a_bfloat16_engine_what_they_say_rounded(run: Run, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    shutil.copytree(run.weights / run.merged, tmp_path / run.merged)
    shutil.copytree(run.weights / run.merged, tmp_path / "new")
    file = tmp_path / "new" / "model.safetensors"
    exact = load_file(file)
    assert {tensor.dtype for tensor in exact.values()} == {torch.float32}
    save_file({name: tensor.bfloat16() for name, tensor in exact.items()}, file, {"format": "pt"})
    rounded, elsewhere = make.settle(tmp_path / "new"), run._replace(weights=tmp_path)
    assert rounded != run.merged
    how: dict[str, Any] = {"together": False, "dtype": "bfloat16"}
    assert texts(elsewhere, of(run.merged)[:4], **how) == texts(elsewhere, of(rounded)[:4], **how)


def test_what_is_cached_for_some_weights_serves_those_alone(run: Run) -> None:
    one, two = run.adapters
    order = ["", one, "", two, one, two]

    async def use(engine: TransformersEngine) -> list[int]:
        cached = []
        for weights in order:
            asked = msgspec.structs.replace(prompt("Who?"), weights=weights)
            cached.append((await engine.generate(asked)).usage.cached_tokens)
        return cached

    cached = with_engine(run.base, use, weights_folder=str(run.weights))
    assert [n > 0 for n in cached] == [False, False, True, False, True, True]


def test_scores_of_a_text_are_those_of_the_weights_that_are_named(run: Run) -> None:
    async def use(engine: TransformersEngine) -> list[float]:
        asked = [msgspec.structs.replace(prompt("Who?"), weights=w) for w in ("", run.adapters[0], run.merged, "")]
        return [(await engine.logprobs(each, " Tom.")).logprob for each in asked]

    base, adapted, merged, again = with_engine(run.base, use, weights_folder=str(run.weights))
    assert base == again != adapted
    assert adapted == pytest.approx(merged, abs=1e-4)


def test_an_engine_that_was_stopped_starts_again_with_the_weights_it_was_born_with(run: Run) -> None:
    async def use(engine: TransformersEngine) -> list[str]:
        said = [(await engine.generate(each)).text for each in (of("")[0], of(run.merged)[0])]
        await engine.stop()
        await engine.start(lambda request_id, tokens: None)
        return [*said, (await engine.generate(of("")[0])).text, (await engine.generate(of(run.adapters[1])[0])).text]

    base, merged, again, other = with_engine(run.base, use, weights_folder=str(run.weights))
    assert base == again and len({base, merged, other}) == 3


# --- what it does not take -----------------------------------------------------------------------------------


def refusals(run: Run, weights: str) -> tuple[str, str]:
    """What the engine says of these weights, and whether it goes on with others."""

    async def use(engine: TransformersEngine) -> tuple[str, str]:
        with pytest.raises(EngineFailure) as failure:
            await engine.generate(of(weights)[0])
        assert len(str(failure.value).splitlines()) == 1
        return str(failure.value), (await engine.generate(of("")[0])).text

    return with_engine(run.base, use, weights_folder=str(run.weights))


def test_weights_for_a_model_of_other_shapes_are_refused_and_the_base_goes_on(run: Run, tmp_path: Path) -> None:
    other = save(tmp_path / "other", "qwen2")
    config = json.loads((other / "config.json").read_text())
    assert config["hidden_size"] == 64
    base = by_the_library(run.base, of("")[:1])[0]
    elsewhere = run._replace(weights=tmp_path / "weights")
    says, then = refusals(elsewhere, make.complete(other, elsewhere.weights, {}))
    assert "in one of the models and not in the other" in says and then == base
    says, then = refusals(elsewhere, make.complete(run.base, elsewhere.weights, {}, num_key_value_heads=4))
    assert "num_key_value_heads" in says and then == base


def test_an_adapter_for_other_shapes_or_of_another_kind_is_refused(run: Run, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    elsewhere = run._replace(weights=tmp_path)
    base = make.base_digest(run.base)
    for config, says in (
        ({"use_dora": True}, "variant of LoRA"),
        ({"peft_type": "IA3"}, "peft_type"),
        ({"r": 8}, "other shapes"),
        ({"rank_pattern": {"q_proj": 2}}, "variant of LoRA"),
    ):
        digest, _ = make.adapter(run.base, tmp_path, 3, base=base, **config)
        assert says in refusals(elsewhere, digest)[0]
    digest, _ = make.adapter(run.base, tmp_path, 3)
    file = tmp_path / digest / "adapter_model.safetensors"
    save_file(load_file(file) | {"base_model.model.lm_head.weight": torch.zeros(2, 2)}, file)
    assert "not part of a LoRA adapter" in refusals(elsewhere, digest)[0]
    file.write_bytes(b"\xff" * 100)
    assert "not a safetensors file" in refusals(elsewhere, digest)[0]


def test_complete_weights_that_cannot_be_read_leave_the_base_to_be_asked_again(run: Run, tmp_path: Path) -> None:
    elsewhere = run._replace(weights=tmp_path)
    digest = make.complete(run.base, tmp_path, {})
    file = tmp_path / digest / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])
    says, then = refusals(elsewhere, digest)
    assert "is not a safetensors file, or is cut off" in says
    assert then == by_the_library(run.base, of("")[:1])[0]


# --- finding them --------------------------------------------------------------------------------------------


def test_weights_are_found_by_their_digest_and_are_what_it_says(run: Run, tmp_path: Path) -> None:
    base = make.base_digest(run.base)
    for digest in (*run.adapters, run.merged):
        assert trained_weights.find(str(run.weights), digest, base) == run.weights / digest
    with pytest.raises(EngineFailure, match="were trained of"):
        trained_weights.find(str(run.weights), run.adapters[0], "f" * 64)
    digest, _ = make.adapter(run.base, tmp_path, 5)
    config = tmp_path / digest / "adapter_config.json"
    config.write_text(config.read_text().replace('"lora_alpha": 8', '"lora_alpha": 9'))
    with pytest.raises(EngineFailure, match="were changed"):
        trained_weights.find(str(tmp_path), digest, base)
    (tmp_path / digest / "adapter_model.safetensors").unlink()
    with pytest.raises(EngineFailure, match="are no weights"):
        trained_weights.find(str(tmp_path), digest, base)


@pytest.mark.parametrize("digest", ["a" * 64, "../base", "..", "/etc", "", "A" * 64, "a" * 15, "a" * 16 + "\n"])
def test_what_is_no_digest_of_weights_that_are_there_is_unsupported(run: Run, digest: str) -> None:
    (run.weights.parent / ("a" * 15)).mkdir(exist_ok=True)
    for folder in (str(run.weights), ""):
        with pytest.raises(EngineFailure, match="the run has no weights") as failure:
            trained_weights.find(folder, digest, "b")
        assert failure.value.kind == "unsupported"
