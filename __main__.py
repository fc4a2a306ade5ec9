"""``python -m archrank`` is the command ``archrank``."""

from .cli.app import main

main()
