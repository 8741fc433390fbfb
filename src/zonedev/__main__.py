"""``python -m zonedev``"""

import sys

from zonedev.cli import main

if __name__ == "__main__":
    sys.exit(main())
