"""``python -m archrank`` is the command ``archrank``."""

import signal


def main() -> None:
    """Run the command; Ctrl-C ends it at once until it can say what it keeps."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from .cli.app import main as command

    command()


if __name__ == "__main__":
    main()
