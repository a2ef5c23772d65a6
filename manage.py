#!/usr/bin/env python
"""Django's command line, with both source roots on the path."""

import os
import sys
from pathlib import Path

# After the script's own folder, and never as a package: `import platform` must stay Python's.
sys.path.insert(1, str(Path(__file__).resolve().parent / "platform"))

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "privatune.settings")
    if sys.argv[1:2] == ["migrate"]:  # the only command that may know the owner's address
        os.environ.setdefault("PRIVATUNE_PROCESS", "migrate")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
