"""MedVL: the app's own code, in layers that import only downwards (see ARCHITECTURE.md)."""
