"""``python -m treesearch.cli`` is the command `search`."""

import sys

from treesearch.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
