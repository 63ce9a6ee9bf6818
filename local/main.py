"""The entry point of `inferd …`, and of `python -m local.main`."""

from cli import main as command_line


def main() -> None:
    """Runs the command of `sys.argv` and ends the process with its exit code."""
    command_line.main(_load)


def _load() -> command_line.Application:
    from local.app import app  # noqa: PLC0415 - a health check does without it

    return app


if __name__ == "__main__":
    main()
