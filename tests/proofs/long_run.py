"""Whether the proofs run in full (`make prove`) or as a fixed, seeded part of themselves (`make test`)."""

import os

LONG = os.environ.get("PROVE") == "full"
