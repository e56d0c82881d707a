"""MONAI Label's training tasks."""
