"""`python -m toast_core` is `toast`."""

from toast_core.cli.app import main

main()
