"""What must be true of a job that somebody brought to its end after a fault, wherever the fault struck."""

from collections.abc import Sequence
from dataclasses import dataclass

from core.domain.ids import JobId, show_job
from core.domain.job_state import JobState
from core.queue.connect import RedisClient
from core.queue.keys import IN_PROGRESS, PAYLOAD, Keys, Lane, job_member
from tests.conformance.fake_provider import FakeProvider
from tests.support.receiver import Receiver
from tests.support.view import JobView, View

_DONE = (JobState.SUCCEEDED, "succeeded", ("delivered",))


@dataclass(frozen=True)
class Evidence:
    """Those who saw what happened: the rows, the provider, and the receiver."""

    view: View
    fake: FakeProvider
    receiver: Receiver

    def is_over(self, job_id: JobId) -> bool:
        job = self.view.jobs.get(job_id)
        return (
            job is not None
            and job.state is JobState.SUCCEEDED
            and {each.state for each in job.deliveries} == {"delivered"}
        )

    def problems(self, job_id: JobId, *, most_calls: int) -> list[str]:
        """What is wrong with how the job went; `most_calls` is how often its provider may have been asked."""
        job = self.view.jobs.get(job_id)
        if job is None:
            return ["the job is not there"]
        found = {
            f"it is {job.state}, with the answer of run {job.result_run} of {job.run_no}": job.state
            is not JobState.SUCCEEDED
            or job.result_run != job.run_no,
            f"it is leased in {job.state}": job.leased,
            f"its deliveries are {job.deliveries}": [(each.event_type, each.state) for each in job.deliveries]
            != [("job.succeeded", "delivered")],
        }
        return [problem for problem, is_so in found.items() if is_so] + [
            *self._calls(job_id, job, most_calls),
            *self._webhooks(job_id),
        ]

    def _calls(self, job_id: JobId, job: JobView, most: int) -> list[str]:
        """I5: every call has its attempt, which says that it went out, and the job's answer is one of theirs."""
        runs = [call.run_no for call in self.fake.calls_of(show_job(job_id))]
        called = {each.run_no for each in job.attempts if each.called}
        found = [] if 1 <= len(runs) <= most else [f"the provider was asked {len(runs)} times, not 1 to {most}"]
        if len(set(runs)) != len(runs) or not set(runs) <= called:
            found.append(f"it was asked in the runs {runs}, and {called} are written down")
        return found

    def _webhooks(self, job_id: JobId) -> list[str]:
        """I7: at least once, and always under the same id."""
        ids = {each.id for each in self.receiver.received if each.event["data"]["job_id"] == show_job(job_id)}
        return [] if len(ids) == 1 else [f"the receiver saw {len(ids)} webhook-ids"]


async def left_in_redis(redis: RedisClient, keys: Keys, job_ids: Sequence[JobId]) -> list[str]:
    """What Redis still has of these jobs, and of any delivery."""
    left = [f"{lane}: {member!r}" for lane in Lane for member in await redis.zrange(keys.lane(lane), 0, -1)]
    for job_id in job_ids:
        names = [PAYLOAD + job_member(job_id), IN_PROGRESS + job_member(job_id), keys.spool(job_id)]
        left += [name for name in names if await redis.exists(name)]
    return left
