"""Tests that need vLLM: skipped without it, unless REQUIRE_VLLM=1; then its absence fails them.

One engine over the embedded model serves all tests that do not need another (`engine`). Everything runs on a
CPU in float32, without compilation. vLLM starts its engine in a process and the model in another; the tests
let one process be both, which starts in half the time, except where processes are what is tested.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

HERE = Path(__file__).parent
ARGS = "--enforce-eager --gpu-memory-utilization 0.3"
CONTEXT = 256
TIMEOUT_S = 900
sys.path.insert(0, str(HERE.parent / "treesearch"))  # tiny_models, test_engine_contract
pytest.register_assert_rewrite("test_engine_contract")
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # as many as pytest's workers would hinder each other
os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # or vLLM ignores `uni` on a CPU


def has_vllm() -> bool:
    """Whether vLLM is installed; a folder of that name on the path is not it."""
    spec = importlib.util.find_spec("vllm")
    return spec is not None and spec.origin is not None


def pytest_configure(config: pytest.Config) -> None:
    # vLLM leaves its ZeroMQ context to the garbage collector.
    config.addinivalue_line("filterwarnings", "ignore:Unclosed context:ResourceWarning")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.vllm)
            item.add_marker(pytest.mark.timeout(TIMEOUT_S))


@pytest.fixture(scope="session", autouse=True)
def vllm_is_here() -> None:
    if not has_vllm():
        if os.environ.get("REQUIRE_VLLM") == "1":
            pytest.fail("REQUIRE_VLLM=1, but vLLM is not installed")
        pytest.skip("vLLM is not installed")
    from treesearch.engines.vllm_args import import_vllm

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the packages that vLLM imports
        for module in ("vllm.engine.arg_utils", "vllm.v1.engine.async_llm"):
            import_vllm(module)


@pytest.fixture(scope="session")
def engine(vllm_is_here: None) -> Iterator[object]:
    from treesearch.engines.vllm import VLLMEngine
    from treesearch.policies import embedded_folder

    opened = VLLMEngine.open(
        str(embedded_folder()),
        args=f"{ARGS} --distributed-executor-backend uni",
        dtype="float32",
        max_context=CONTEXT,
        certainty=True,
    )
    yield opened
    asyncio.run(opened.close())


@pytest.fixture(scope="session")
def reference(vllm_is_here: None) -> Iterator[object]:
    """The same model with the transformers engine."""
    import torch

    from treesearch.engines.transformers import TransformersEngine
    from treesearch.policies import embedded_folder

    torch.set_num_threads(1)
    opened = TransformersEngine.open(
        str(embedded_folder()), device="cpu", dtype="float32", max_context=CONTEXT, threads=1
    )
    yield opened
    asyncio.run(opened.close())


@pytest.fixture(scope="session")
def server_url(vllm_is_here: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a vLLM server over the embedded model, ended with all its processes."""
    from treesearch.policies import embedded_folder

    log = tmp_path_factory.mktemp("server") / "log.txt"
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--model", str(embedded_folder()), "--dtype", "float32"]
    command += ["--max-model-len", str(CONTEXT), *ARGS.split()]
    with log.open("wb") as sink:
        server = subprocess.Popen(command, stdout=sink, stderr=sink, start_new_session=True, cwd=log.parent)
    try:
        _wait_until_healthy(server, f"http://127.0.0.1:{port}/health", log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(30)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _wait_until_healthy(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + TIMEOUT_S / 2
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(url, timeout=5).status_code == 200:
                return
        time.sleep(0.5)
    pytest.fail(f"the vLLM server did not start:\n{log.read_text(errors='replace')[-4000:]}")
