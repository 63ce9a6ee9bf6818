"""The whole application of `inferd …`: the commands of cli/, and those that run everything on one machine.

Run by local/main.py; docs/reference/cli.md is made from it.
"""

from cli.app import make_app
from local import commands

app = make_app(commands.register)
