"""Our own model folder: its card, its writer, heads of every kind, calibration, and opening by name."""

from __future__ import annotations

import asyncio
import json
import math

import pytest
import torch
from prm_models import (
    HIDDEN,
    LLAMA3,
    QUESTION,
    STEPS,
    add_head,
    byte_level,
    random,
    sentence_pieces,
    write_causal,
)
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

from prm.checkpoint import Calibration, Card, HeadCard, read_card, write_checkpoint
from prm.conventions import find
from prm.registry import ScorerSettings, embedded_folder, open_scorer
from prm.scoring.open import open_own
from prm.scoring.options import ScoringOptions
from tasks.errors import DataError, MissingPrerequisiteError, UsageError

SETTINGS = {"device": "cpu", "dtype": "float32", "threads": 1}
VALUE = HeadCard(kind="value")


def write(folder, *, card: Card, head, base=None, tokenizer=None):
    tokenizer = tokenizer or byte_level(bos="<|begin_of_text|>")
    base = base or write_causal(folder.parent / f"{folder.name}-base", tokenizer)
    model = AutoModelForCausalLM.from_pretrained(base)
    write_checkpoint(folder, model=model, tokenizer=tokenizer, card=card, head=head)
    return folder


def value_head(outputs: int = 1) -> dict[str, torch.Tensor]:
    return {"head.weight": random(outputs, HIDDEN), "head.bias": random(outputs, seed=8)}


def score(folder, **settings):
    async def run():
        scorer = open_scorer(str(folder), {**SETTINGS, **settings})
        try:
            return await scorer.score(QUESTION, STEPS)
        finally:
            await scorer.close()

    return asyncio.run(run())


@torch.no_grad()
def hidden(folder):
    """Hidden states at the ends of the steps, from one pass over the whole text."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids, positions = tokenizer.encode(QUESTION + "\n"), []
    for step in STEPS:
        ids = ids + tokenizer.encode(step + "\n", add_special_tokens=False)
        positions.append(len(ids) - 1)
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    return model(torch.tensor([ids])).last_hidden_state[0, positions]


def test_a_card_comes_back_as_it_was_written(tmp_path):
    card = Card(
        convention="steps",
        head=HeadCard(kind="value", outputs=2),
        calibration=Calibration(kind="isotonic", x=(0.1, 0.6), y=(0.0, 0.9)),
        trained={"examples": 12, "config": {"lr": 1e-4}},
    )
    folder = write(tmp_path / "prm", card=card, head=value_head(2))
    assert read_card(folder) == card
    assert json.loads((folder / "prm.json").read_text())["schema"] == 1
    assert {file.name for file in folder.iterdir()} >= {
        "prm.json", "head.safetensors", "model.safetensors", "config.json", "tokenizer.json",
    }  # fmt: skip


def test_a_second_write_replaces_the_first_and_leaves_nothing_beside_it(tmp_path):
    folder = write(tmp_path / "prm", card=Card(convention="steps", head=VALUE), head=value_head())
    (folder / "stray").write_text("old")
    write(
        folder,
        card=Card(convention="steps", head=VALUE, trained={"n": 2}),
        head=value_head(),
        base=tmp_path / "prm-base",
    )
    assert not (folder / "stray").exists()
    assert read_card(folder).trained == {"n": 2}
    assert {each.name for each in tmp_path.iterdir()} == {"prm", "prm-base"}


def test_a_failing_write_leaves_the_old_folder(tmp_path):
    folder = write(tmp_path / "prm", card=Card(convention="steps", head=VALUE), head=value_head())

    class Broken:
        def save_pretrained(self, folder):
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_checkpoint(
            folder,
            model=Broken(),
            tokenizer=byte_level(),
            card=Card(convention="steps", head=VALUE, trained={"n": 2}),
            head=value_head(),
        )
    assert read_card(folder).trained == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 2}, "schema is 2, this version reads 1"),
        ({"convention": "stepps"}, "unknown convention 'stepps'; did you mean 'steps'"),
        ({"heads": {}}, "unknown key 'heads'; did you mean 'head'"),
        ({"head": {"kind": "vlaue"}}, "unknown kind of head 'vlaue'; did you mean 'value'"),
        ({"head": {"kind": "value", "output": 1}}, "unknown key of head 'output'; did you mean 'outputs'"),
        ({"head": {"kind": "value", "outputs": 0}}, "head.outputs must be at least 1, got 0"),
        ({"head": {"kind": "value", "file": "../x"}}, "must be the name of a file in the folder"),
        ({"head": {"kind": "value", "file": None}}, "'value' needs a file"),
        ({"calibration": {"kind": "isotonic", "x": [0.5, 0.2], "y": [0, 1]}}, "with x rising"),
        ({"calibration": {"kind": "plat"}}, "did you mean 'platt'"),
    ],
)
def test_a_card_that_is_wrong_says_what_and_where(tmp_path, change, message):
    card = {"schema": 1, "convention": "steps", "head": {"kind": "value"}, **change}
    (tmp_path / "prm.json").write_text(json.dumps(card))
    with pytest.raises(DataError, match=message) as error:
        read_card(tmp_path)
    assert str(tmp_path / "prm.json") in str(error.value)


def test_a_card_that_is_missing_or_no_json_is_a_data_error(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_card(tmp_path)
    (tmp_path / "prm.json").write_text("{")
    with pytest.raises(DataError, match="not JSON"):
        read_card(tmp_path)
    (tmp_path / "prm.json").write_text("[]")
    with pytest.raises(DataError, match="JSON object, got list"):
        read_card(tmp_path)


def test_a_head_that_is_not_the_cards_is_refused_when_written_and_when_read(tmp_path):
    with pytest.raises(UsageError, match=r"needs head.weight \[2, hidden\]"):
        write(
            tmp_path / "prm", card=Card(convention="steps", head=HeadCard(kind="classes")), head=value_head()
        )
    folder = write(tmp_path / "prm", card=Card(convention="steps", head=VALUE), head=value_head())
    card = json.loads((folder / "prm.json").read_text())
    card["head"]["outputs"] = 3
    (folder / "prm.json").write_text(json.dumps(card))
    with pytest.raises(UsageError, match="has 1 rows, its card says 3"):
        open_scorer(str(folder), SETTINGS)


@pytest.mark.parametrize("outputs", [1, 2])
def test_a_head_of_classes_gives_the_probability_that_a_step_is_right(tmp_path, outputs):
    head = value_head(2 * outputs)
    folder = write(
        tmp_path / "prm",
        card=Card(convention="steps", head=HeadCard(kind="classes", outputs=outputs)),
        head=head,
    )
    logits = (hidden(folder) @ head["head.weight"].T + head["head.bias"]).view(len(STEPS), outputs, 2)
    wanted = logits.softmax(-1)[..., 1]
    found = score(folder)
    assert found.scores == pytest.approx(wanted.mean(-1).tolist(), abs=1e-5)
    assert len(found.members) == (len(STEPS) if outputs > 1 else 0)


def test_a_two_token_head_is_its_file_or_two_rows_of_the_backbones_lm_head(tmp_path):
    tokenizer = sentence_pieces()
    base = write_causal(tmp_path / "base", tokenizer)
    ids = {text: tokenizer.encode(text, add_special_tokens=False)[0] for text in ("ки", "+", "-")}
    rows = AutoModelForCausalLM.from_pretrained(base).lm_head.weight
    head = {"head.weight": (rows[ids["+"]] - rows[ids["-"]])[None], "head.bias": torch.zeros(1)}
    found = []
    for name, file, tensors in (("file", "head.safetensors", head), ("rows", None, None)):
        card = Card(convention="math-shepherd", head=HeadCard(kind="two-token", file=file))
        folder = write(tmp_path / name, card=card, head=tensors, base=base, tokenizer=tokenizer)

        async def run(folder=folder, card=card):
            scorer = open_own(
                folder,
                card,
                find("math-shepherd"),
                options=ScoringOptions(device="cpu", dtype="float32", threads=1),
                expected=ids,
            )
            found.append((await scorer.score(QUESTION, STEPS)).scores)
            await scorer.close()

        asyncio.run(run())
    assert found[0] == pytest.approx(found[1], abs=1e-6)
    card = Card(convention="steps", head=HeadCard(kind="two-token", file=None))
    with pytest.raises(UsageError, match="needs a convention that names two tokens"):
        open_scorer(
            str(write(tmp_path / "x", card=card, head=None, base=base, tokenizer=tokenizer)), SETTINGS
        )


def test_a_backbone_of_several_files_scores_as_one(tmp_path):
    card = Card(convention="steps", head=VALUE)
    one = write(tmp_path / "one", card=card, head=value_head())
    two = tmp_path / "two"
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "one-base")

    class Sharded:
        def save_pretrained(self, folder):
            model.save_pretrained(folder, max_shard_size="40KB")

    write_checkpoint(
        two, model=Sharded(), tokenizer=byte_level(bos="<|begin_of_text|>"), card=card, head=value_head()
    )
    assert len(list(two.glob("model-*.safetensors"))) > 1
    assert score(two).scores == score(one).scores


def test_platt_and_isotonic_calibration_are_their_formulas():
    platt = Calibration(kind="platt", a=1.7, b=-0.3)
    for p in (0.01, 0.4, 0.99):
        assert platt(p) == pytest.approx(1 / (1 + math.exp(-(1.7 * math.log(p / (1 - p)) - 0.3))))
    assert platt(0.0) == platt(1e-6)
    assert Calibration(kind="platt")(0.37) == pytest.approx(0.37)
    isotonic = Calibration(kind="isotonic", x=(0.2, 0.4, 0.8), y=(0.1, 0.5, 0.9))
    assert [isotonic(x) for x in (0.0, 0.2, 0.3, 0.6, 0.8, 1.0)] == pytest.approx(
        [0.1, 0.1, 0.3, 0.7, 0.9, 0.9]
    )


def test_the_embedded_model_that_is_not_there_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr("prm.registry.embedded_folder", lambda: tmp_path / "none")
    with pytest.raises(MissingPrerequisiteError, match=r"no model ships at .*search prm train"):
        open_scorer("embedded")
    assert embedded_folder().parts[-3:] == ("prm", "models", "embedded")


@pytest.mark.parametrize("family", ["", "math-shepherd"])
def test_a_folder_that_is_not_there_is_said_to_be_missing(family: str) -> None:
    for name in ("runs/prm/model", "./nowhere"):
        with pytest.raises(UsageError, match=r"model folder '(runs/prm/model|nowhere)' does not exist"):
            open_scorer(name, {"family": family})


def test_a_name_that_is_no_folder_and_tells_no_family_may_be_either() -> None:
    with pytest.raises(UsageError, match=r"no folder 'runs/prm', and as a hub id .*family=NAME"):
        open_scorer("runs/prm")


def test_wrong_settings_name_the_nearest(tmp_path):
    folder = write(tmp_path / "prm", card=Card(convention="steps", head=VALUE), head=value_head())
    with pytest.raises(UsageError, match="unknown setting of prm 'cache_md'; did you mean 'cache_mb'"):
        open_scorer(str(folder), {"cache_md": 1})
    with pytest.raises(UsageError, match="unknown back end of scoring 'vlm'; did you mean 'vllm'"):
        open_scorer(str(folder), {"backend": "vlm"})
    with pytest.raises(UsageError, match="unknown way to combine members 'meen'; did you mean 'mean'"):
        open_scorer(str(folder), {**SETTINGS, "combine": "meen"})
    with pytest.raises(UsageError, match="follows the convention 'steps', family=pure was asked"):
        open_scorer(str(folder), {"family": "pure"})
    with pytest.raises(UsageError, match="cache_mb must be at least 0, got -1"):
        open_scorer(str(folder), {"cache_mb": -1})


@pytest.mark.parametrize(
    ("reads", "given"),
    [
        ("head", {"samples": 4}),
        ("head", {"reference": "x"}),
        ("head", {"cumulative": "false"}),
        ("log-ratio", {"combine": "worst"}),
        ("log-ratio", {"seed": 1}),
        ("verdict", {"combine": "worst"}),
        ("verdict", {"beta": 0.1}),
    ],
)
def test_a_setting_that_the_way_a_model_is_read_does_not_use_is_refused(reads, given, tmp_path):
    settings = SETTINGS if reads == "head" else {**SETTINGS, "family": FAMILIES[reads]}
    name = "embedded" if reads == "head" else str(tmp_path)
    with pytest.raises(UsageError, match=rf"setting '{next(iter(given))}' has no meaning .* by a {reads}"):
        open_scorer(name, {**settings, **given})


FAMILIES = {"log-ratio": "eurusprm", "verdict": "genprm"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"combine": "wrost"}, "unknown way to combine members 'wrost'; did you mean 'worst'"),
        ({"uncertainty": 2.0}, "uncertainty is lambda of combine=uncertain"),
        ({"engine_args": "--seed 1"}, "engine_args are vLLM's own: give backend=vllm"),
    ],
)
def test_settings_that_contradict_each_other_are_refused_for_every_way_to_read(given, message):
    with pytest.raises(UsageError, match=message):
        ScorerSettings(**given)


def test_a_checkpoint_without_the_familys_head_or_with_missing_layers_is_refused(tmp_path):
    folder = write_causal(tmp_path / "a", byte_level(template=LLAMA3))
    tag = byte_level().convert_tokens_to_ids("<extra_0>")
    from prm.scoring.open import open_published

    options = ScoringOptions(device="cpu", threads=1)
    with pytest.raises(UsageError, match=r"no tensor 'score.0.weight'.*it has lm_head.weight"):
        open_published(str(folder), find("qwen2.5-math-prm"), options=options, expected={"<extra_0>": tag})
    broken = write_causal(tmp_path / "b", byte_level())
    add_head(broken, {}, without=("model.layers.1.mlp.up_proj.weight",))
    with pytest.raises(UsageError, match=r"lack 1 tensors .*layers.1.mlp.up_proj.*would be random"):
        open_published(str(broken), find("steps"), options=options)


def test_a_folder_without_safetensors_is_not_loaded(tmp_path):
    folder = write_causal(tmp_path / "a", byte_level())
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(UsageError, match=r"no \*.safetensors"):
        open_scorer(str(folder), {"family": "steps", "device": "cpu"})


def test_a_head_of_another_model_is_refused(tmp_path):
    from prm.heads.linear import Head
    from prm.scoring.open import load_backbone
    from prm.scoring.reading import Reading
    from prm.scoring.transformers import TransformersScorer

    folder = write_causal(tmp_path / "a", byte_level())
    options = ScoringOptions(device="cpu", threads=1)
    model, tokenizer, _ = load_backbone(str(folder), options)
    from prm.conventions import bind

    with pytest.raises(UsageError, match=f"takes hidden states of 3, the model has {HIDDEN}"):
        TransformersScorer(
            model,
            Head([(torch.zeros(1, 3), None)]),
            bind(find("steps"), tokenizer),
            Reading(convention=find("steps")),
            options=options,
        )
