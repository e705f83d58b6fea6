"""`python -m proxy.cli`, where the command itself is not on the path."""

import sys

from proxy.cli.main import main

sys.exit(main())
