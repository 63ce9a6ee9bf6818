"""Names that users type or match on exist where the documents, the images and the code say that they do."""

import ast
import re

from core.domain.errors import CODES, JOB_NEXT_STEPS
from core.observability.metrics import REGISTRY
from core.providers.fault_codes import CODES as FAULT_CODES
from core.settings import variables
from tests.architecture.repository import documents, files, modules, read

_VARIABLE = re.compile(r"\bINFERD_[A-Z0-9_]*[A-Z0-9]\b")
_METRIC = re.compile(r"\binferd_[a-z_]+_(?:total|seconds|slots)\b")
_DEPLOYMENT = (".env.example", "docker-compose.yml", "Dockerfile.api", "Dockerfile.worker", "Makefile")
_CODE_KEYWORDS = {"code", "default_code"}


def test_variables_exist() -> None:
    places = [
        *documents(),
        *_DEPLOYMENT,
        *(path for path in files() if path.endswith((".py", ".sql")) and not path.startswith("tests/")),
    ]
    unknown = {
        f"{path}: {name}" for path in places for name in _VARIABLE.findall(read(path)) if name not in variables()
    }
    assert not unknown


def test_every_variable_is_in_the_example() -> None:
    assert set(_VARIABLE.findall(read(".env.example"))) == set(variables())


def test_metrics_exist() -> None:
    known = {sample for metric in REGISTRY.collect() for sample in (metric.name, f"{metric.name}_total")}
    unknown = {f"{path}: {name}" for path in documents() for name in _METRIC.findall(read(path)) if name not in known}
    assert not unknown


def test_error_codes_are_documented() -> None:
    used = {
        (module.path, node.value.value)
        for module in modules("api", "core")
        for node in ast.walk(module.tree)
        if isinstance(node, ast.keyword) and node.arg in _CODE_KEYWORDS
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    }
    assert len(used) > 3
    known = {*CODES, *JOB_NEXT_STEPS, *map(str, FAULT_CODES)}
    assert not {(path, code) for path, code in used if code not in known}


def test_codes_of_failed_jobs_have_a_next_step() -> None:
    made = {
        node.args[1].value
        for module in modules("core/domain", "core/jobs", "core/routing")
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "Failure" and len(node.args) > 1
        if isinstance(node.args[1], ast.Constant)
    }
    assert made
    assert made == set(JOB_NEXT_STEPS)


def test_no_code_means_two_things() -> None:
    assert not set(CODES) & set(JOB_NEXT_STEPS)
    assert not set(JOB_NEXT_STEPS) & {str(code) for code in FAULT_CODES}
