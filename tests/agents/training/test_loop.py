import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import safetensors.torch
import torch
import transformers

from agents.models import weights
from agents.training import checkpoints
from agents.training.__main__ import explain
from agents.training.run import train
from agents.training.spec import TrainingDone, TrainingEvent, TrainingFailed, TrainingSpec, TrainingStep
from tests.agents.training.training_at_hand import line, model, spec, write

pytestmark = pytest.mark.usefixtures("on_cpu")
COMPLETE = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}


@pytest.fixture(autouse=True)
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "PATIENCE", 0)


def steps_of(said: list[TrainingEvent]) -> list[int]:
    return [each.step for each in said if isinstance(each, TrainingStep)]


def nothing(said: TrainingEvent) -> None:
    pass


class Death(Exception):
    pass


def die_at(step: int) -> Callable[[TrainingEvent], None]:
    def tell(said: TrainingEvent) -> None:
        if isinstance(said, TrainingStep) and said.step == step:
            raise Death

    return tell


def dies(told: TrainingSpec, step: int) -> None:
    with pytest.raises(Death):
        train(told, die_at(step))


# --- what comes of it ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["dpo", "ipo", "kto", "sft"])
def test_each_method_learns_the_chosen_answers(tiny: Path, tmp_path: Path, method: str) -> None:
    said: list[TrainingEvent] = []
    recipe = {"method": method, "learning_rate": 1e-2, "epochs": 2, "nll_weight": 1.0}
    done = train(spec(tmp_path, tiny, recipe=recipe), said.append)
    assert steps_of(said) == list(range(7)) and (done.pairs, done.too_long, done.steps) == (6, 0, 6)
    first, last = said[1], said[-1]
    assert isinstance(first, TrainingStep) and isinstance(last, TrainingStep)
    assert last.loss < first.loss and last.peak_memory_mb > 0
    assert done.figures["loss"] == last.loss and done.figures["seconds_per_pair"] > 0
    if method != "sft":
        assert last.reward_margin > first.reward_margin == pytest.approx(0, abs=1e-4)


def test_an_adapter_is_three_files_that_say_whose_it_is(tiny: Path, tmp_path: Path) -> None:
    told = spec(tmp_path, tiny)
    done = train(told, nothing)
    assert "changed" not in done.figures
    folder = Path(done.folder)
    assert folder == Path(told.out) / done.trained and {file.name for file in folder.iterdir()} == set(weights.ADAPTER)
    assert weights.adapter_base(folder) == told.base
    assert weights.digest_of(folder, lambda label, done, total: None) == done.trained
    assert str(tmp_path) not in (folder / "adapter_config.json").read_text()
    base = transformers.AutoModelForCausalLM.from_pretrained(tiny)
    before = base(torch.arange(9)[None]).logits
    after = peft.PeftModel.from_pretrained(base, folder)(torch.arange(9)[None]).logits
    assert not torch.equal(before, after)


def test_all_weights_make_a_model_of_their_own(tiny: Path, tmp_path: Path) -> None:
    told = spec(tmp_path, tiny, recipe={"lora": False, "learning_rate": 1e-3})
    done = train(told, nothing)
    folder = Path(done.folder)
    assert COMPLETE - {"generation_config.json"} <= {file.name for file in folder.iterdir()}
    assert (folder / "config.json").read_bytes() == (tiny / "config.json").read_bytes()
    assert weights.digest_of(folder, lambda label, done, total: None) == done.trained != told.base
    new, old = (safetensors.torch.load_file(each / "model.safetensors") for each in (folder, tiny))
    assert new.keys() == old.keys()
    different = sum(int((new[name] != old[name]).sum()) for name in new)
    assert done.figures["changed"] == different / sum(tensor.numel() for tensor in new.values()) > 0.5
    assert transformers.AutoModelForCausalLM.from_pretrained(folder).config.vocab_size == 259


def rounded(folder: Path) -> Path:
    """The model as it is published: in bfloat16."""
    transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).save_pretrained(folder)
    return folder


def test_steps_that_an_engine_would_round_away_are_kept_and_the_next_training_goes_on_from_them(
    tmp_path: Path,
) -> None:
    base = rounded(model(tmp_path / "base"))
    small = {"lora": False, "learning_rate": 1e-6}
    first = train(spec(tmp_path, base, name="one", recipe=small, dtype="bfloat16"), nothing)
    second = train(spec(tmp_path, Path(first.folder), name="two", recipe=small, dtype="bfloat16"), nothing)
    held = [
        safetensors.torch.load_file(Path(each) / "model.safetensors") for each in (base, first.folder, second.folder)
    ]
    name = "model.layers.0.mlp.up_proj.weight"
    old, one, two = (each[name] for each in held)
    assert (old.dtype, one.dtype, two.dtype) == (torch.bfloat16, torch.float32, torch.float32)
    assert 0 < first.figures["changed"] < 0.05 and 0 < second.figures["changed"] < 0.05
    moved, further = ((new - before.float()).abs().max().item() for new, before in ((one, old), (two, one)))
    # Three steps at a rate falling to nothing: none is longer than the rate.
    assert 1e-6 < moved < 3e-6 and 1e-6 < further < 3e-6
    # Who has no wish reads it as it reads the base.
    assert transformers.AutoModelForCausalLM.from_pretrained(first.folder).dtype == torch.bfloat16
    assert (Path(second.folder) / "config.json").read_bytes() == (base / "config.json").read_bytes()


def test_an_engine_that_computes_in_float32_sees_all_of_a_small_training(tmp_path: Path) -> None:
    base = rounded(model(tmp_path / "base"))
    done = train(spec(tmp_path, base, recipe={"lora": False, "learning_rate": 1e-6}, dtype="float32"), nothing)
    assert done.figures["changed"] > 0.5


def test_the_same_training_gives_the_same_digest_and_another_seed_another(tiny: Path, tmp_path: Path) -> None:
    one = train(spec(tmp_path, tiny, name="one"), nothing)
    same = train(spec(tmp_path, tiny, name="same"), nothing)
    other = train(spec(tmp_path, tiny, name="other", recipe={"seed": 1}), nothing)
    assert one.trained == same.trained != other.trained
    assert sorted(file.name for file in (tmp_path / "weights").iterdir()) == sorted({one.trained, other.trained})


@pytest.mark.parametrize("lora", [True, False])
def test_a_trained_adapter_can_be_trained_further(tiny: Path, tmp_path: Path, lora: bool) -> None:
    first = train(spec(tmp_path, tiny, recipe={"learning_rate": 1e-2}), nothing)
    said: list[TrainingEvent] = []
    further = spec(tmp_path, tiny, name="b", adapter=first.folder, recipe={"lora": lora, "learning_rate": 1e-2})
    second = train(further, said.append)
    assert second.trained != first.trained
    assert bool(weights.adapter_base(Path(second.folder))) is lora
    # What it goes on from is the reference: no margin before the first step has changed anything.
    assert isinstance(said[1], TrainingStep) and said[1].reward_margin == pytest.approx(0, abs=1e-4)


# --- deaths --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", [{"epochs": 2}, {"lora": False, "learning_rate": 1e-3}, {"method": "kto"}])
def test_a_training_that_died_goes_on_at_its_checkpoint_to_the_same_weights(
    tiny: Path, tmp_path: Path, recipe: dict[str, Any]
) -> None:
    whole = train(spec(tmp_path, tiny, name="whole", recipe=recipe), nothing)
    told = spec(tmp_path, tiny, name="died", recipe=recipe)
    dies(told, 3)
    said: list[TrainingEvent] = []
    done = train(told, said.append)
    assert steps_of(said) == list(range(2, whole.steps + 1))
    assert done.trained == whole.trained and done.steps == whole.steps
    assert [file.name for file in Path(told.work).iterdir() if "step" in file.name] == []


def test_a_checkpoint_that_is_not_whole_is_passed_over(tiny: Path, tmp_path: Path) -> None:
    told = spec(tmp_path, tiny)
    dies(told, 2)
    (held,) = Path(told.work).glob("step-*")
    (held.parent / "step-00000002.safetensors").write_bytes(held.read_bytes()[:-100])
    (held.parent / "step-00000002.partial").write_bytes(b"half")
    said: list[TrainingEvent] = []
    train(told, said.append)
    assert steps_of(said) == [1, 2, 3]


def test_a_checkpoint_of_another_training_is_not_taken_up(tiny: Path, tmp_path: Path) -> None:
    dies(spec(tmp_path, tiny), 2)
    said: list[TrainingEvent] = []
    train(spec(tmp_path, tiny, recipe={"seed": 5}), said.append)
    assert steps_of(said) == [0, 1, 2, 3]


def test_what_is_done_is_not_done_again(tiny: Path, tmp_path: Path) -> None:
    told = spec(tmp_path, tiny)
    done = train(told, nothing)
    said: list[TrainingEvent] = []
    assert train(told, said.append) == done and said == []
    for file in Path(done.folder).iterdir():
        file.unlink()
    Path(done.folder).rmdir()
    again = train(told, said.append)
    assert again.trained == done.trained and steps_of(said) == [0, 1, 2, 3]


# --- refusals ------------------------------------------------------------------------------------------------


def refused(told: TrainingSpec) -> TrainingFailed:
    with pytest.raises(TrainingFailed) as caught:
        train(told, nothing)
    assert not list(Path(told.out).glob("*")) and len(str(caught.value).splitlines()) <= 3
    return caught.value


def test_a_loss_that_is_no_number_ends_it_and_leaves_no_weights(tiny: Path, tmp_path: Path) -> None:
    told = spec(tmp_path, tiny, recipe={"learning_rate": 1e30, "epochs": 9})
    error = refused(told)
    assert error.for_good and "learning_rate" in str(error)


def test_a_model_whose_weights_are_no_numbers_is_found_out_at_the_first_step(tiny: Path, tmp_path: Path) -> None:
    broken = model(tmp_path / "broken")
    held = safetensors.torch.load_file(broken / "model.safetensors")
    held["model.norm.weight"][3] = float("nan")
    safetensors.torch.save_file(held, broken / "model.safetensors", {"format": "pt"})
    error = refused(spec(tmp_path, broken))
    assert "step 1" in str(error) and "nan" in str(error)


def test_a_last_step_that_ruins_the_weights_is_found_out_too(tiny: Path, tmp_path: Path) -> None:
    # One step: its loss is of what was there before it.
    error = refused(spec(tmp_path, tiny, recipe={"learning_rate": 1e37, "batch": 6}))
    assert error.for_good and "step 1: what the new weights compute is no number" in str(error)
    assert "learning_rate" in str(error)


def test_no_pair_that_fits_says_how_long_they_are(tiny: Path, tmp_path: Path) -> None:
    error = refused(spec(tmp_path, tiny, recipe={"max_tokens": 40}))
    assert error.for_good and "all 6 are longer than 40 tokens" in str(error) and "max_tokens" in str(error)


def test_an_adapter_of_other_weights_is_refused(tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    for name in weights.ADAPTER:
        (folder / name).write_text(json.dumps({"base": "another"}))
    error = refused(spec(tmp_path, tiny, adapter=str(folder)))
    assert error.for_good and "an adapter of another" in str(error)
    assert "no adapter" in str(refused(spec(tmp_path, tiny, adapter=str(tiny))))


def test_an_architecture_that_nobody_knows_is_refused(tiny: Path, tmp_path: Path) -> None:
    folder = model(tmp_path / "odd")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "odd", "architectures": ["Odd"]}))
    error = refused(spec(tmp_path, folder))
    assert error.for_good and "odd" in str(error)


def test_too_long_pairs_are_left_out_and_counted(tiny: Path, tmp_path: Path) -> None:
    long = line(7, chosen="7" * 400)
    pairs = write(tmp_path / "some.jsonl", [line(1), long, line(2)])
    done = train(spec(tmp_path, tiny, pairs=pairs, recipe={"max_tokens": 400}), nothing)
    assert (done.pairs, done.too_long, done.steps) == (2, 1, 1)


def test_with_sft_the_rejected_answer_has_no_say_not_even_by_its_length(tiny: Path, tmp_path: Path) -> None:
    def digest_with(rejected: str, name: str) -> str:
        pairs = write(tmp_path / f"{name}.jsonl", [line(n, rejected=rejected) for n in range(2)])
        recipe = {"method": "sft", "max_tokens": 400}
        return train(spec(tmp_path, tiny, pairs=pairs, name=name, recipe=recipe), nothing).trained

    assert digest_with("no", "short") == digest_with("7" * 400, "long")


@pytest.mark.parametrize("when", ["checkpoint", "weights"])
def test_a_full_disk_leaves_nothing_half_written_and_the_training_goes_on_later(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    told = spec(tmp_path, tiny)

    def full(*args: Any, **kwargs: Any) -> None:
        Path(told.work, "step-00000002.partial").write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left") as caught:
        dies(told, 2)
        target = (checkpoints, "save_file") if when == "checkpoint" else (weights, "digest_of")
        patch.setattr(*target, full)
        train(told, nothing)
    assert "no space left" in explain(caught.value, told).failed and not explain(caught.value, told).for_good
    assert not list(Path(told.out).iterdir())
    said: list[TrainingEvent] = []
    assert isinstance(train(told, said.append), TrainingDone)
    assert steps_of(said)[0] >= 1


def test_what_goes_wrong_is_said_with_what_to_do(tiny: Path, tmp_path: Path) -> None:
    told = spec(tmp_path, tiny)
    memory = explain(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), told)
    assert "out of memory" in memory.failed and "max_tokens" in memory.failed and not memory.for_good
    extra = explain(ModuleNotFoundError("No module named 'trl'", name="trl"), told)
    assert 'pip install -e ".[train]"' in extra.failed and extra.for_good
    assert "trl broke" in explain(ValueError("trl broke"), told).failed
    for full in (OSError(errno.EDQUOT, "Disk quota exceeded"), safetensors.SafetensorError("no (os error 27)")):
        assert f"no space left on the disk of {tmp_path}:" in explain(full, told).failed
    late = RuntimeError("cannot import a part of trl, look up to see why")
    late.__cause__ = MemoryError()
    assert "out of memory" in explain(late, told).failed
