"""`python -m tools.reference [--check]`: writes the generated pages, or says which are stale."""

import sys

from tools.reference import run

sys.exit(run(check="--check" in sys.argv[1:]))
