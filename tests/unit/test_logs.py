"""What may never stand in a log does not, whoever logs it and in whichever format."""

import json
import logging
from collections.abc import Iterator
from typing import Literal

import pytest
import structlog

from core.observability import logs
from core.observability.context import bound
from core.observability.logs import configure_logs, redact
from core.settings import LogSettings

SECRETS = ["api_key", "authorization", "body", "input", "messages", "output", "password", "prompt", "result", "secret",
           "token"]  # fmt: skip
FORMATS: list[Literal["json", "console"]] = ["json", "console"]


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    """Logging is afterwards as it was before."""
    root, config = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers[:], root.level
    quiet = {name: logging.getLogger(name).level for name in ("arq", "httpx2", "uvicorn.access")}
    yield
    structlog.configure(**config)
    root.handlers[:], root.level = handlers, level
    for name, before in quiet.items():
        logging.getLogger(name).setLevel(before)


Stderr = pytest.CaptureFixture[str]


def lines(stderr: Stderr) -> list[dict[str, object]]:
    return [json.loads(line) for line in stderr.readouterr().err.splitlines()]


@pytest.mark.parametrize("name", SECRETS)
def test_a_value_under_a_forbidden_name_is_replaced(name: str) -> None:
    assert redact(None, "info", {"event": "x", name: "hunter2"}) == {"event": "x", name: "[redacted]"}


def test_what_is_harmless_stays() -> None:
    event: dict[str, object] = {"event": "request", "job_id": "job_1", "status": 200}

    assert redact(None, "info", dict(event)) == event


@pytest.mark.parametrize("shape", FORMATS)
def test_nothing_secret_is_written_by_us_or_by_a_library(capsys: Stderr, shape: Literal["json", "console"]) -> None:
    configure_logs(LogSettings(format=shape))

    for name in SECRETS:
        structlog.get_logger("core").info("ours", **{name: "hunter2"})
        logging.getLogger("library").warning("theirs", extra={name: "hunter2"})

    written = capsys.readouterr().err
    assert written.count("[redacted]") == 2 * len(SECRETS)
    assert "hunter2" not in written


def test_json_is_one_object_a_line_with_time_level_and_what_is_bound(capsys: Stderr) -> None:
    configure_logs(LogSettings(format="json"))

    with bound(request_id="req_1", attempt=2), bound(attempt=3):
        structlog.get_logger("core").info("inner", text="two\nlines")
    logging.getLogger("library").warning("from %s", "a library", extra={"color_message": "\x1b[1mfrom %s"})

    first, second = lines(capsys)
    assert first["event"] == "inner"
    assert (first["level"], first["request_id"], first["attempt"], first["text"]) == ("info", "req_1", 3, "two\nlines")
    assert str(first["timestamp"]).endswith("Z")
    assert (second["event"], second["level"]) == ("from a library", "warning")
    assert not {"request_id", "color_message"} & set(second)


def test_what_is_bound_ends_with_its_block_also_after_an_error(capsys: Stderr) -> None:
    configure_logs(LogSettings(format="json"))

    with bound(job_id="outer"):
        with pytest.raises(ValueError, match="x"), bound(job_id="inner"):
            raise ValueError("x")
        structlog.get_logger("core").info("between")
    structlog.get_logger("core").info("after")

    between, after = lines(capsys)
    assert between["job_id"] == "outer"
    assert "job_id" not in after


def test_the_level_is_kept_by_ours_and_by_libraries(capsys: Stderr) -> None:
    configure_logs(LogSettings(format="json", level="warning"))

    structlog.get_logger("core").info("quiet")
    logging.getLogger("library").info("quiet")
    structlog.get_logger("core").warning("loud")

    assert [line["event"] for line in lines(capsys)] == ["loud"]


def test_debug_is_ours_alone(capsys: Stderr) -> None:
    configure_logs(LogSettings(format="json", level="debug"))

    structlog.get_logger("core").debug("ours")
    logging.getLogger("library").debug("theirs")
    logging.getLogger("httpx2").info("HTTP Request: POST https://api.example/?key=hunter2")

    assert [line["event"] for line in lines(capsys)] == ["ours"]


def test_a_crash_is_written_with_its_trace_and_no_values(capsys: Stderr) -> None:
    configure_logs(LogSettings(format="json"))

    prompt = "hunter2"
    try:
        _crash(prompt)
    except RuntimeError:
        structlog.get_logger("core").exception("crashed")

    (line,) = lines(capsys)
    assert "RuntimeError: of 7 characters" in str(line["exception"])
    assert "hunter2" not in str(line)


def _crash(prompt: str) -> None:
    raise RuntimeError(f"of {len(prompt)} characters")


def test_what_everybody_repeats_is_one_line_a_second_with_the_number_of_the_others(
    capsys: Stderr, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(logs, "_THROTTLE", logs.LogThrottle(seconds=1.0, clock=lambda: now))
    configure_logs(LogSettings(format="json"))

    log = structlog.get_logger("core")
    for _ in range(2_500):
        log.warning("call_waiting_for_database", error="ConnectionRefusedError")
    log.warning("finish_waiting_for_database", error="ConnectionRefusedError")
    for number in range(3):
        log.info("job_repaired", number=number)
    now += 1.0
    log.warning("call_waiting_for_database", error="ConnectionRefusedError")
    now += 1.0
    log.warning("call_waiting_for_database", error="ConnectionRefusedError")

    written = [(line["event"], line.get("suppressed")) for line in lines(capsys)]
    assert written == [
        ("call_waiting_for_database", None),
        ("finish_waiting_for_database", None),
        *[("job_repaired", None)] * 3,
        ("call_waiting_for_database", 2_499),
        ("call_waiting_for_database", None),
    ]


def test_seldom_counts_each_by_itself() -> None:
    now = 0.0
    throttle = logs.LogThrottle(seconds=60.0, clock=lambda: now)
    assert [throttle.suppressed(key) for key in "aaba"] == [0, None, 0, None]
    now = 60.0
    assert [throttle.suppressed(key) for key in "ab"] == [2, 0]
