"""The locked requirements: what `make check` compares, and the pins that the code depends on."""

import re
import sys
from pathlib import Path

import pytest

from tests import lock_drift
from tests.architecture.repository import ROOT, make_targets, read


def test_no_line_names_a_place_to_download_from() -> None:
    locks = lock_drift.read_locks(ROOT)
    assert set(locks) == {"bench.txt", "dev.txt", "runtime.txt"}
    assert not list(lock_drift.place_problems(locks))


@pytest.mark.parametrize(
    "line",
    ["--index-url https://mirror.example/simple", "-i https://mirror.example", "arq @ https://mirror.example/arq.whl"],
)
def test_such_a_line_would_be_found(line: str) -> None:
    assert list(lock_drift.place_problems({"runtime.txt": f"arq==0.28.0 \\\n    --hash=sha256:00\n{line}\n"}))


def test_a_difference_is_shown() -> None:
    shown = lock_drift.drift({"runtime.txt": "arq==0.28.0\n"}, {"runtime.txt": "arq==0.27.0\n"})
    assert "-arq==0.28.0" in shown
    assert "+arq==0.27.0" in shown
    assert not lock_drift.drift({"runtime.txt": "arq==0.28.0\n"}, {"runtime.txt": "arq==0.28.0\n"})


def test_who_can_not_say_does_not_say_yes() -> None:
    assert lock_drift.main([]) == 2
    assert lock_drift.main([str(Path(sys.executable).with_name("there-is-no-uv"))]) == 2


def test_arq_is_the_one_that_is_subclassed() -> None:
    for name in ("runtime", "dev"):
        text = read(f"requirements/{name}.txt")
        assert re.search(r"(?m)^arq==0\.28\.0 ", text)
        assert re.search(r"(?m)^redis==5\.", text)


def test_every_pin_has_a_hash() -> None:
    for name in ("runtime", "dev"):
        for pin in re.split(r"(?m)^(?=[a-z0-9])", read(f"requirements/{name}.txt"))[1:]:
            assert "--hash=sha256:" in pin, pin.splitlines()[0]


def test_the_development_environment_contains_the_runtime_one() -> None:
    pins = {
        name: set(re.findall(r"(?m)^([\w.-]+==\S+)", read(f"requirements/{name}.txt"))) for name in ("runtime", "dev")
    }
    assert pins["runtime"] <= pins["dev"]


def test_make_check_looks() -> None:
    assert {"check", "lock"} <= make_targets()
    assert "-m tests.lock_drift" in read("Makefile")
