"""`python -m digidouble` is the `digidouble` command."""

from __future__ import annotations

from digidouble.app.cli import main

if __name__ == "__main__":
    main()
