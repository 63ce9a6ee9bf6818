"""The one shape of a provider, and nothing of any vendor.

core/jobs/execute.py calls `infer`; core/providers/catalogue.py decides which provider a model belongs to.
"""

from typing import Protocol

from core.domain.inference import InferenceRequest, InferenceResult


class Provider(Protocol):
    """An adapter to one server that answers inference requests.

    It makes exactly one call for each `infer`, never retries, and validates what came back.
    """

    async def infer(self, request: InferenceRequest) -> InferenceResult:
        """One call. Raises Fault (core/providers/faults.py), and nothing else but CancelledError."""

    async def aclose(self) -> None:
        """Closes the connections. Safe to call twice."""
