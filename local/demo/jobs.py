"""The jobs of `inferd demo`, and how each must end. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import JsonValue

from cli.client.http import Job
from core.providers.catalogue import LOCAL_MODEL
from local.demo.receiver import Received


@dataclass(frozen=True)
class DemoJob:
    """A job to submit, and how it must end."""

    about: str
    model: str
    prompt: str
    params: Mapping[str, JsonValue] = field(default_factory=dict)
    status: str = "succeeded"
    attempts: int = 1

    def body(self, webhook_url: str) -> dict[str, JsonValue]:
        return {
            "model": self.model,
            "input": self.prompt,
            "params": dict(self.params),
            "metadata": {"demo": self.about},
            "webhook": {"url": webhook_url},
        }

    def problems(self, job: Job, webhook: Received | None) -> list[str]:
        """Returns what is not as expected."""
        found = []
        if job.status != self.status:
            why = f" ({job.error.code}: {job.error.message})" if job.error else ""
            found.append(f"is {job.status}{why}, not {self.status}")
        if job.attempts_used != self.attempts:
            found.append(f"took {job.attempts_used} attempts, not {self.attempts}")
        if self.status == "succeeded" and not (job.output and job.output.text.strip()):
            found.append("has no output")
        if self.status == "succeeded" and not (job.usage and job.usage.output_tokens):
            found.append("has no count of tokens")
        if self.status == "failed" and job.error is None:
            found.append("does not say why it failed")
        if webhook is None:
            found.append("sent no webhook that could be verified")
        elif webhook.event != f"job.{self.status}":
            found.append(f"sent the webhook {webhook.event}, not job.{self.status}")
        return [f"{self.about} ({job.id}) {problem}" for problem in found]


def _question(about: str, prompt: str) -> DemoJob:
    return DemoJob(about, f"local/{LOCAL_MODEL}", prompt, {"max_tokens": 48})


JOBS: tuple[DemoJob, ...] = (
    _question("a greeting", "Say hello to a new user in one short sentence."),
    _question("a fact", "What is the capital of France? Answer in one sentence."),
    _question("an explanation", "In one sentence, what is a queue?"),
    DemoJob("a flaky provider", "echo/flaky", "Third time lucky", attempts=3),
    DemoJob("a hopeless request", "echo/fail", "Never", status="failed"),
)
