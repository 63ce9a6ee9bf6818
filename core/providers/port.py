"""The interface of a provider, free of any vendor's types.

core/jobs/execute.py calls `infer`; core/providers/catalogue.py finds the provider of a model.
"""

from typing import Protocol

from core.domain.inference import InferenceRequest, InferenceResult


class Provider(Protocol):
    """An adapter to one server that runs models.

    It makes exactly one call for each `infer`, never retries, and validates the response.
    """

    async def infer(self, request: InferenceRequest) -> InferenceResult:
        """Makes one call. Raises only Fault (core/providers/faults.py) and CancelledError."""

    async def aclose(self) -> None:
        """Closes the connections. Safe to call twice."""
