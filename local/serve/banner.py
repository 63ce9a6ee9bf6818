"""The text that `inferd serve` prints when it is ready: servers, addresses, the key, and commands to try."""

import shlex
import sys

from rich.text import Text

from cli.command_name import command_name
from cli.terminal import results
from core.providers.catalogue import LOCAL_MODEL, endpoints
from core.version import VERSION
from local.stack import Stack

_NAMES = {"postgres": "PostgreSQL", "valkey": "Valkey", "model": "Model"}


def print_banner(stack: Stack) -> None:
    """On stdout. The key is the development key of this data directory, which is valid on this machine only."""
    out = results()
    out.print()
    out.print(Text(f"  inferd {VERSION}", style="bold"), "· everything on this machine, for development")
    out.print()
    for name, value in _rows(stack):
        out.print(Text(f"  {name:<11}", style="dim"), value, sep="", soft_wrap=True)
    out.print()
    out.print(Text("  Try, in another terminal:", style="bold"))
    for line in _next_steps(stack):
        out.print(f"    {line}", soft_wrap=True)
    out.print()
    out.print(f"  Ctrl-C stops everything; the data is kept, and `{command_name()} reset` deletes it.", soft_wrap=True)
    sys.stdout.flush()


def _rows(stack: Stack) -> list[tuple[str, str]]:
    plan, servers = stack.plan, stack.servers
    rows = [
        (_NAMES[name], f"{version}   {servers.startup_seconds[name]:.1f} s")
        for name, version in servers.versions.items()
    ]
    if servers.recovered:
        rows.append(("Recovered", f"stopped what a killed command had left: {', '.join(servers.recovered)}"))
    models = ["echo/echo and other scripted ones"] if plan.settings.echo_enabled else []
    models += [f"local/{LOCAL_MODEL}"] if servers.local_base_url or plan.settings.local_base_url else []
    models += [f"{name}/…" for name in endpoints(plan.settings)]
    rows += [
        ("Workers", str(plan.workers)),
        ("Models", ", ".join(models)),
        ("Data", str(plan.settings.data_dir)),
        ("Logs", str(stack.logs)),
        ("API", f"{stack.api_url}   (OpenAPI: {stack.api_url}/openapi.json)"),
        ("API key", stack.api_key),
    ]
    return rows


def _next_steps(stack: Stack) -> list[str]:
    model = f"local/{LOCAL_MODEL}" if stack.servers.local_base_url else "echo/echo"
    job = f'{{"model": "{model}", "input": "Say hello"}}'
    settings, inferd = stack.plan.settings, command_name()
    # Without it the other terminal would look for the server of the default data directory.
    chosen = [f"export INFERD_DATA_DIR={shlex.quote(str(settings.data_dir.expanduser().resolve()))}"]
    return [
        *(chosen if "data_dir" in settings.model_fields_set else []),
        f"export INFERD_API_KEY={stack.api_key}",
        f'{inferd} run "Say hello" --model {model}',
        f"{inferd} jobs list",
        f"curl {stack.api_url}/v1/jobs -H \"Authorization: Bearer $INFERD_API_KEY\" -H 'Prefer: wait=30' -d '{job}'",
        f"{inferd} webhook-secret     # the secret that signs your webhooks",
    ]
