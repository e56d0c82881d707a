"""MONAI Label tasks: thin, each reads as one sentence from request to response."""
