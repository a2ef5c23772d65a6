"""`python -m privatune.cli` is `privatune`."""

from privatune.cli import main

main()
