"""The command line on the toy catalogue: ``python tests/toy_cli.py check ...``."""

import sys

import toys
from zonedev.cli import main

if __name__ == "__main__":
    sys.exit(main(load=toys.with_endless))
