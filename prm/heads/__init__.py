"""Heads of process-reward models, native and from safetensors: no code from a model's repository."""
