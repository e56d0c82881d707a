"""A server whose segmenter is a few lines that tests can foresee; all else is the real thing."""
