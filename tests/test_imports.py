"""The import arrows of the design, and what the packages never contain: read from the source, by AST."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    "tasks": set[str](),
    "treesearch": {"tasks"},
    "prm": {"treesearch", "tasks"},
    "selftrain": {"treesearch", "tasks", "prm"},
}
OURS = {*MAY_IMPORT, "experiments", "tests"}
HEAVY = ("torch", "transformers", "vllm", "ray", "sympy", "jax", "math_verify", "matplotlib")
MODULES = [path for package in MAY_IMPORT for path in sorted((ROOT / package).rglob("*.py"))]


def imports(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Every imported module and its line, wherever the import stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            yield node.module or "", node.lineno


def name_of(node: ast.expr) -> str:
    """``a.b.c`` of an attribute chain, else an empty string."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (head := name_of(node.value)):
        return f"{head}.{node.attr}"
    return ""


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def module_id(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_there_are_modules_to_look_at() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in MODULES} >= {"tasks", "treesearch"}
    assert len(MODULES) > 50


@pytest.mark.parametrize("path", MODULES, ids=module_id)
def test_a_module_imports_only_where_the_arrows_point(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    for module, line in imports(parsed(path)):
        head = module.partition(".")[0]
        assert head not in OURS - MAY_IMPORT[package] - {package}, f"{path}:{line} imports {module}"


@pytest.mark.parametrize("path", MODULES, ids=module_id)
def test_a_module_unpickles_evaluates_and_loads_nothing_unsafe(path: Path) -> None:
    tree = parsed(path)
    for module, line in imports(tree):
        assert module.partition(".")[0] not in {"pickle", "cPickle", "dill", "shelve", "marshal", "joblib"}, (
            f"{path}:{line} imports {module}"
        )
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = name_of(node.func)
        assert called not in {"eval", "exec", "compile", "__import__", "torch.load", "os.system"}, (
            f"{path}:{node.lineno} calls {called}"
        )
        assert not called.endswith((".read_pickle", "yaml.load", "yaml.unsafe_load")), (
            f"{path}:{node.lineno} calls {called}"
        )
        for keyword in node.keywords:
            if keyword.arg in ("trust_remote_code", "shell", "allow_pickle"):
                allowed = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
                assert allowed, f"{path}:{node.lineno} passes {keyword.arg}"


def loaded_after(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after running `code`."""
    script = f"{code}\nimport sys\nprint(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "code",
    [
        "import treesearch",
        "import treesearch\n[getattr(treesearch, name) for name in treesearch.__all__]",
        "from treesearch.registry import TABLES, names\n[names(kind) for kind in TABLES]",
        "import treesearch.cli",
        "import tasks, tasks.countdown, tasks.math",
    ],
    ids=["treesearch", "every public name", "the registry", "the command line", "tasks"],
)
def test_importing_loads_no_heavy_package(code: str) -> None:
    assert not loaded_after(code) & set(HEAVY)


def test_every_public_name_is_found_and_a_wrong_one_is_an_attribute_error() -> None:
    import treesearch

    assert len(treesearch.__all__) == len(set(treesearch.__all__))
    assert dir(treesearch) == sorted(treesearch.__all__)
    for name in treesearch.__all__:
        assert getattr(treesearch, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Bream'"):
        treesearch.Bream  # noqa: B018


def test_every_name_in_the_registry_resolves_to_something_with_a_docstring() -> None:
    from treesearch.registry import names, summary

    for kind in ("algorithm", "value", "task"):
        for name in names(kind):
            assert summary(kind, name)
