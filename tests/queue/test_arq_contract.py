"""What QueueWorker takes for granted of arq. When one of these fails, read the new arq before changing the figure."""

import hashlib
import inspect
from importlib.metadata import version

import pytest
from arq import constants, worker
from arq.connections import ArqRedis
from arq.worker import Function, Worker

from core.queue.keys import IN_PROGRESS, PAYLOAD
from core.queue.payload import RUN_JOB
from core.queue.worker import QueueWorker
from tests.queue.lanes import Lanes, Runs

# The source that was read: the start of its SHA-256.
PINNED = {
    "__init__": "edfb0cd7e05e77cf",
    "main": "45ca1591c9717466",
    "_poll_iteration": "f8d39d823a0a59f2",
    "run_job": "589a19059ff84ee7",
    "_release_sem_dec_counter_on_complete": "0ed101482e942c33",
    # The stock half of a shared lane: how it claims a job, and what it leaves behind when one ends.
    "start_jobs": "b45797cfa40bed7f",
    "finish_job": "903f09c92830d3fd",
    "finish_failed_job": "3e16087f318a7acf",
}
OVERRIDDEN = {"__init__", "main", "_poll_iteration", "run_job", "_release_sem_dec_counter_on_complete"}
USED = {
    "functions",
    "ctx",
    "max_jobs",
    "job_counter",
    "tasks",
    "loop",
    "allow_pick_jobs",
    "jobs_complete",
    "jobs_failed",
}


def digest(function: object) -> str:
    return hashlib.sha256(inspect.getsource(function).encode()).hexdigest()[:16]  # type: ignore[arg-type]  # a function of arq's


def test_the_version_is_the_one_that_was_read() -> None:
    assert version("arq") == "0.28.0"


@pytest.mark.parametrize("name", PINNED)
def test_the_source_is_the_one_that_was_read(name: str) -> None:
    assert digest(getattr(Worker, name)) == PINNED[name]


def test_nothing_else_is_overridden() -> None:
    mine = {name for name in vars(QueueWorker) if not name.startswith("__")} | {"__init__"}
    assert mine & set(dir(Worker)) == OVERRIDDEN
    assert set(PINNED) >= OVERRIDDEN


@pytest.mark.parametrize("name", sorted(OVERRIDDEN - {"__init__"}))
def test_an_override_has_the_signature_of_what_it_overrides(name: str) -> None:
    ours, theirs = (list(inspect.signature(getattr(kind, name)).parameters) for kind in (QueueWorker, Worker))
    assert ours == theirs


async def test_what_is_used_is_there_and_nothing_of_arqs_is_shadowed(lanes: Lanes) -> None:
    runs = Runs()
    stock = Worker(functions=[worker.func(runs.task, name=RUN_JOB)], redis_pool=lanes.redis, handle_signals=False)  # type: ignore[arg-type]  # arq wants a Protocol with *args
    async with lanes.worker(runs) as ours:
        assert set(vars(stock)) >= USED
        added = set(vars(ours)) - set(vars(stock))
        assert added == {
            "default_task",
            "lease_seconds",
            "held",
            "_still_ours",
            "_may_claim",
            "_admissions",
            "_contested",
            "_left_some",
            "_slots",
            "_fallback",
            "_wake_event",
            "_idle",
            "_claims",
            "_finishes",
        }
        assert not added & set(dir(Worker))
        assert isinstance(ours.functions[RUN_JOB], Function)
        assert ours.functions[RUN_JOB].coroutine == runs.task


def test_the_names_of_the_keys_are_arqs() -> None:
    assert (constants.job_key_prefix, constants.in_progress_key_prefix) == (PAYLOAD, IN_PROGRESS)
    assert (PAYLOAD, IN_PROGRESS) == ("arq:job:", "arq:in-progress:")


def test_a_pool_of_ours_may_be_handed_in() -> None:
    assert list(inspect.signature(ArqRedis.__init__).parameters)[:2] == ["self", "pool_or_conn"]
    assert "redis_pool" in inspect.signature(Worker.__init__).parameters
