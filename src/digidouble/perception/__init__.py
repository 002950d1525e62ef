"""One picture -> observations: faces, mesh and iris, identity, person matte.

Pixel convention of every function here: coordinates are OpenCV's, x to the right, y down, (0, 0) the centre of the
top left pixel. "Left" and "right" are the subject's. Pictures are RGB, 8 bit, in the plate's own encoding (the
networks were trained on ordinary sRGB-like video); any layout in memory, never modified.
"""
