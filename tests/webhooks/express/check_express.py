"""The Express receiver of the documentation, in Node.js, with the libraries that npm has: run by `make receivers`.

What verifies here is an implementation in another language, which is not ours.
"""

from pathlib import Path

from core.webhooks.egress.signing import new_signing_secret
from tests.webhooks.documented import check_receiver, run_receiver

LIBRARIES = Path(__file__).parent / "node_modules"


async def test_the_documented_receiver_takes_what_is_signed_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "node_modules").symlink_to(LIBRARIES)
    secret = new_signing_secret("v1")
    async with run_receiver(tmp_path, "Express", secret, ("node", "receiver.mjs"), "receiver.mjs") as receiver:
        await check_receiver(receiver, secret)
