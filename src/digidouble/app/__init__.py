"""App: the command line. It parses, calls and shows; it computes no pictures."""

import os

# Small linear systems are solved by the thousand: OpenBLAS' own threads only get in each other's way (a tenth of an analysis).
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
