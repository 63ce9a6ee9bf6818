"""No sequence of events breaks an invariant: Hypothesis plays tests/proofs/job_machine.py over the real SQL and Redis.

After each step the rows must be those of the model, and the invariants I1 to I8 must hold (tests/support/invariants.py).
At the end of each run a healthy worker must bring every job to its end (I2). The default run is always the same;
`make prove` plays many more, at random, and longer ones.
"""

from hypothesis import HealthCheck, Phase
from hypothesis import settings as profile
from hypothesis.stateful import run_state_machine_as_test

from core.settings import Settings
from tests.proofs.job_machine import JobMachine
from tests.proofs.long_run import LONG
from tests.proofs.system import open_system

PLAY = profile(
    max_examples=1500 if LONG else 12,
    stateful_step_count=80 if LONG else 40,
    # Shrinking takes minutes; the long run does it.
    phases=list(Phase) if LONG else [Phase.generate],
    derandomize=not LONG,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def test_no_sequence_of_events_breaks_an_invariant(settings: Settings) -> None:
    with open_system(settings) as system:

        class Machine(JobMachine):
            def __init__(self) -> None:
                super().__init__(system)

        run_state_machine_as_test(Machine, settings=PLAY)
