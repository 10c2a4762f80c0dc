"""`python -m ringway`."""

from ringway import main

main()
