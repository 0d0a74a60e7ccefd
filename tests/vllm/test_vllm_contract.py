"""The contract of all engines, held by the vllm engine: the very tests of `test_engine_contract`."""

from __future__ import annotations

import test_engine_contract as contract

globals().update({name: value for name, value in vars(contract).items() if name.startswith("test_")})


def test_the_tests_of_the_contract_are_here():
    assert sum(name.startswith("test_") for name in globals()) > 14
