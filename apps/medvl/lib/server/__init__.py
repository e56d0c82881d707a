"""The ASGI app around MONAI Label's own, and the datastore of a folder."""
