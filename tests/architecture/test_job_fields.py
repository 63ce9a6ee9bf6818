"""docs/reference/job.md has one paragraph for each field of a job, and for no other."""

import re
from typing import get_type_hints

from api.jobs.schemas.job import JobView
from tests.architecture.repository import read


def test_every_field_of_a_job_has_its_paragraph() -> None:
    described = re.findall(r"(?m)^### `(\w+)`\n\n", read("docs/reference/job.md"))
    assert sorted(described) == sorted(get_type_hints(JobView))
