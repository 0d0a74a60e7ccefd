"""What is wrong is said when the vllm engine opens, before anything is started."""

from __future__ import annotations

import re
import threading

import pytest
from tiny_models import CONTEXT, write_llama

from tasks.errors import MissingPrerequisiteError, UsageError
from treesearch.engines.vllm import open_engine
from treesearch.engines.vllm_args import parse_args
from treesearch.engines.vllm_pooling import open_pooler


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    return str(write_llama(tmp_path_factory.mktemp("llama")))


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("--max-modell-len 5", "unrecognized arguments: --max-modell-len 5"),
        ("--max-model-len many", "argument --max-model-len"),
        ("--dtype float12", "argument --dtype"),
        ("--max-model-len", "expected one argument"),
        ("surplus", "unrecognized arguments: surplus"),
        ("--help", "unrecognized arguments: --help"),
        ("--max-model-len '5", "quotation"),
        ("--model other/model", "not the model asked for"),
        ("--logprobs-mode processed_logprobs", "logprobs-mode"),
        ("--skip-tokenizer-init", "skip-tokenizer-init"),
        ("--max-model-len 100000", "max_model_len"),
        ("--quantization nonsense", "quantization"),
    ],
)
def test_a_wrong_argument_is_a_usage_error_with_vllm_s_own_message(folder, args, message):
    with pytest.raises(UsageError, match=re.escape(message)) as caught:
        open_engine(folder, {"args": args})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "settings", [{"dtype": "float12"}, {"max_context": CONTEXT + 1}, {"max_context": -1}, {"arg": "-tp 1"}]
)
def test_a_wrong_setting_is_a_usage_error(folder, settings):
    with pytest.raises(UsageError):
        open_engine(folder, settings)


def test_arguments_reach_vllm_and_win_over_settings(folder):
    found = parse_args(folder, "--max-model-len 99 -tp 2 --dtype=bfloat16", {"dtype": "float32"})
    assert (found.max_model_len, found.tensor_parallel_size, found.dtype) == (99, 2, "bfloat16")
    assert (found.model, found.load_format, found.trust_remote_code) == (folder, "safetensors", False)
    assert parse_args(folder, "--trust-remote-code", {}).trust_remote_code is True
    assert parse_args(folder, "", {"dtype": "float32"}).dtype == "float32"


def test_wrong_folders_say_what_to_do(tmp_path):
    for path, message in [
        (tmp_path / "none", "does not exist"),
        (tmp_path, "has no config.json"),
    ]:
        with pytest.raises(UsageError, match=message):
            open_engine(str(path), {})
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UsageError, match="safetensors"):
        open_engine(str(tmp_path), {})


def test_a_hub_id_that_is_not_here_is_an_error_with_its_name(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises((MissingPrerequisiteError, UsageError), match="nobody/nothing"):
        open_engine("nobody/nothing", {})


def test_an_unknown_pooling_task_is_a_usage_error(folder):
    with pytest.raises(UsageError, match="valid: classify"):
        open_pooler(folder, task="clasify")


def test_nothing_is_left_of_an_engine_that_did_not_open(folder):
    import psutil

    before = {each.pid for each in psutil.Process().children(recursive=True)}
    threads = {thread.name for thread in threading.enumerate()}
    with pytest.raises(UsageError):
        open_engine(folder, {"max_context": CONTEXT + 1})
    assert {each.pid for each in psutil.Process().children(recursive=True)} <= before
    assert {thread.name for thread in threading.enumerate()} <= threads
