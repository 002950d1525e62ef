"""Deliver: frames to files. Movies, stills and sequences, EXR, labels, the quality report."""
