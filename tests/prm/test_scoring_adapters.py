"""Checkpoints that are not whole folders: LoRA adapters, and state dicts that are converted once."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from prm_models import QUESTION, STEPS, byte_level, random, sentence_pieces, write_causal
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from prm.conventions import Token, TwoTokens, find, table
from prm.registry import ScorerSettings, open_scorer, scorer_hash
from prm.scoring.adapters import find_adapter, merge
from prm.scoring.base import StepScores
from prm.scoring.state_dict import convert
from tasks.errors import DataError, MissingPrerequisiteError, UsageError

CPU = {"device": "cpu", "dtype": "float32", "threads": 1}


def scored(name: Path, **settings: Any) -> StepScores:
    async def job() -> StepScores:
        scorer = open_scorer(str(name), CPU | settings)
        try:
            return await scorer.score(QUESTION, STEPS)
        finally:
            await scorer.close()

    return asyncio.run(job())


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model in VersaPRM's family; its tiny vocabulary has other ids than the published one."""
    versa = find("versaprm")
    assert isinstance(versa.readout, TwoTokens)
    token = Token(text=" \n\n\n\n")
    readout = TwoTokens(positive=Token(text="+"), negative=Token(text="-"))
    changed = replace(versa, tag=replace(versa.tag, token=token), readout=readout)
    monkeypatch.setitem(table.CONVENTIONS, "versaprm", changed)  # pyright: ignore[reportArgumentType]
    return write_causal(tmp_path / "Llama-PRM800K", byte_level(bos="<|begin_of_text|>"))


def write_adapter(folder: Path, base: Path, targets: list[str], **config: Any) -> Path:
    peft = pytest.importorskip("peft")
    torch.manual_seed(3)
    lora = peft.LoraConfig(
        r=4, target_modules=targets, task_type="CAUSAL_LM", init_lora_weights=False, **config
    )
    model = AutoModelForCausalLM.from_pretrained(base)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        network = peft.get_peft_model(model, lora)
    network.save_pretrained(folder, save_embedding_layers="lm_head" in targets)
    return folder


@pytest.mark.parametrize("targets", [["q_proj", "v_proj"], ["up_proj", "lm_head"]])
def test_an_adapter_scores_as_the_model_that_it_is_merged_into(
    base: Path, tmp_path: Path, targets: list[str]
) -> None:
    adapter = write_adapter(tmp_path / "VersaPRM", base, targets)
    found = scored(adapter)  # told by the folder's name
    merge(str(adapter), str(tmp_path / "merged"))
    wanted = scored(tmp_path / "merged", family="versaprm")
    assert found.scores == pytest.approx(wanted.scores, abs=1e-5)
    plain = scored(base, family="versaprm")
    assert max(abs(one - other) for one, other in zip(found.scores, plain.scores, strict=True)) > 1e-3
    with pytest.raises(UsageError, match="there and not empty"):
        merge(str(adapter), str(tmp_path / "merged"))


def test_the_hash_of_an_adapter_changes_with_it_and_with_its_base(base: Path, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "VersaPRM", base, ["q_proj"])
    hashes = [scorer_hash(str(adapter), ScorerSettings())]
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(config | {"lora_alpha": 64}))
    hashes.append(scorer_hash(str(adapter), ScorerSettings()))
    write_causal(base, byte_level(bos="<|begin_of_text|>"), seed=5)
    hashes.append(scorer_hash(str(adapter), ScorerSettings()))
    assert len(set(hashes)) == 3


def test_where_an_adapter_cannot_be_read_the_command_that_merges_it_is_named(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter = write_adapter(tmp_path / "VersaPRM", base, ["q_proj"])
    with pytest.raises(UsageError, match=r"backend=vllm reads merged only.*import merge") as raised:
        open_scorer(str(adapter), {"backend": "vllm"})
    code = str(raised.value).split('python -c "')[1].split('"')[0]
    exec(code.replace("MERGED", str(tmp_path / "merged")))
    assert (tmp_path / "merged" / "config.json").is_file()
    with pytest.raises(UsageError, match=r"the family 'eurusprm' reads merged only"):
        open_scorer(str(adapter), {"family": "eurusprm", "reference": str(base)})
    with pytest.raises(UsageError, match="a head outside of the language model"):
        open_scorer(str(adapter), {"family": "skywork-o1", **CPU})
    with pytest.raises(UsageError, match="is no adapter"):
        merge(str(base), str(tmp_path / "other"))


def test_an_adapter_that_does_not_fit_its_base_is_refused(base: Path, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "VersaPRM", base, ["q_proj"])
    tensors = load_file(adapter / "adapter_model.safetensors")
    one, *rest = sorted(tensors)
    for changed, message in (
        ({name: tensors[name] for name in rest}, "is not in the adapter"),
        (tensors | {"base_model.model.score.weight": random(1, 64)}, "has no place in it"),
        (tensors | {one: random(4, 3)}, "does not fit its base"),
    ):
        save_file(changed, adapter / "adapter_model.safetensors")
        with pytest.raises(UsageError, match=message):
            open_scorer(str(adapter), CPU)


def test_what_is_wrong_with_the_files_of_an_adapter_is_named(base: Path, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "VersaPRM", base, ["q_proj"])
    path = adapter / "adapter_config.json"
    config = json.loads(path.read_text())
    for content, error, message in (
        ("no JSON", DataError, "not a JSON object"),
        (json.dumps(config | {"peft_type": "IA3"}), UsageError, "peft_type is 'IA3'"),
        (json.dumps(config | {"base_model_name_or_path": None}), UsageError, "names no base"),
    ):
        path.write_text(content)
        with pytest.raises(error, match=message):
            open_scorer(str(adapter), CPU)
    path.write_text(json.dumps(config | {"base_model_name_or_path": str(tmp_path / "gone")}))
    with pytest.raises(UsageError, match="gone' does not exist"):
        open_scorer(str(adapter), CPU)
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    with pytest.raises(UsageError, match=r"no adapter_model\.safetensors"):
        open_scorer(str(adapter), CPU)


def test_a_whole_model_beside_an_adapters_config_is_no_adapter(base: Path, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "VersaPRM", base, ["q_proj"])
    shutil.copy(adapter / "adapter_config.json", base)
    assert find_adapter(str(base)) is None
    assert find_adapter("nobody/has-this-model") is None


def test_without_peft_the_message_names_the_command(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = write_adapter(tmp_path / "VersaPRM", base, ["q_proj"])
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingPrerequisiteError, match=r"needs peft: pip install"):
        open_scorer(str(adapter), CPU)


def write_state_dict(folder: Path, file: Path) -> dict[str, torch.Tensor]:
    """What the published code saves: the language model's tensors and those of the layer."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    state = {f"base_model.{name}": tensor for name, tensor in model.state_dict().items()}
    size = model.config.vocab_size
    state |= {"LN.weight": random(1, size) * 0.2, "LN.bias": torch.tensor([0.4])}
    torch.save(state, file)
    return state


@pytest.fixture
def mistral(tmp_path: Path) -> Path:
    return write_causal(tmp_path / "base", sentence_pieces())


def test_a_state_dict_becomes_a_folder_that_scores_as_the_published_code(
    mistral: Path, tmp_path: Path
) -> None:
    state = write_state_dict(mistral, tmp_path / "value.pt")
    with pytest.raises(UsageError, match="publishes a state dict, so run once") as raised:
        open_scorer(str(mistral), CPU | {"family": "rest-mcts"})
    code = str(raised.value).split('python -c "')[1].split('"')[0]
    for name, place in (("FILE.pt", "value.pt"), ("BASE", "base"), ("CONVERTED", "out")):
        code = code.replace(name, str(tmp_path / place))
    exec(code)
    found = scored(tmp_path / "out", family="rest-mcts")
    tokenizer = AutoTokenizer.from_pretrained(mistral)
    text = f"Problem: {QUESTION}\nSolution:\nStep 1: {STEPS[0]}\n"
    with torch.inference_mode():
        logits = AutoModelForCausalLM.from_pretrained(mistral)(torch.tensor([tokenizer.encode(text)])).logits
    value = torch.nn.functional.linear(logits[0, -1], state["LN.weight"], state["LN.bias"]).clamp(0, 1)
    assert found.scores[0] == pytest.approx(float(value), abs=1e-4)


def test_what_is_no_such_state_dict_is_refused(mistral: Path, tmp_path: Path) -> None:
    state, out = write_state_dict(mistral, tmp_path / "value.pt"), str(tmp_path / "out")
    for changed, message in (
        ({"base_model.x": random(1)}, "it has neither alone"),
        ({name: each for name, each in state.items() if name != "LN.bias"}, r"it has LN\.weight alone"),
        (state | {"other": random(1)}, "it has other"),
        (state | {"base_model.lm_head.bias": random(1)}, "does not fit"),
    ):
        with pytest.raises(UsageError, match=message):
            convert(changed, base=str(mistral), out=out)
    with pytest.raises(UsageError, match="there and not empty"):
        convert(state, base=str(mistral), out=str(mistral))
    convert({f"module.{name}": each for name, each in state.items()}, base=str(mistral), out=out)
    assert scored(tmp_path / "out", family="rest-mcts")
