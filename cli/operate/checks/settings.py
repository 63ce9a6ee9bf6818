"""The check of `inferd doctor` on the settings: what is well-formed can still be a mistake. Asks no server."""

from cli.operate.checks.finding import Finding, Level
from core.providers.catalogue import open_catalogue
from core.settings import Settings, SettingsError, unknown_variables


def check_settings(settings: Settings) -> list[Finding]:
    found = [
        Finding("settings", Level.WARN, f"nothing reads {name}" + (f"; did you mean {nearest}?" if nearest else "."))
        for name, nearest in unknown_variables().items()
    ]
    try:
        open_catalogue(settings)
    except SettingsError as error:
        found.append(Finding("settings", Level.FAIL, str(error)))
    if settings.master_key is None:
        text = "prompts, results and webhook secrets are stored readable; set INFERD_MASTER_KEY to encrypt them."
        found.append(Finding("master key", Level.WARN, text))
    return found or [Finding("settings", Level.OK, "complete")]
