"""How many files a process may open: as many as it is allowed to allow itself."""

import resource
import subprocess
import sys

LIMIT = """
import resource
from core.process import open_more_files
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
open_more_files()
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


def test_a_low_limit_is_raised_as_far_as_it_may_be() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    ended = subprocess.run([sys.executable, "-c", LIMIT], capture_output=True, text=True, check=True)
    assert int(ended.stdout) == most
