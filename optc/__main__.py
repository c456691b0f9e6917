"""`python -m optc` is the command line."""

from optc.cli import main

main()
