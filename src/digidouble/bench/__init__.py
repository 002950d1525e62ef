"""Measuring doubles with judges that the product never uses: `digidouble bench` (extra `[bench]`), docs/bench.md.

Metric cores (`landmarks`, `gaze`, `pictures`, `statistics`, `protocols.measures`) are pure functions of arrays. `referees`
is the only door to dlib and to the second identity network; nothing outside this package may open either.
"""
