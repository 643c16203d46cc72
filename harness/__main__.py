"""`python -m harness` and the console script `harness`."""

from __future__ import annotations

import sys


def main() -> None:
    from harness.cli.main import entry

    sys.exit(entry())


if __name__ == "__main__":
    main()
