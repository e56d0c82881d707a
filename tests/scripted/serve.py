"""Starts the scripted server as `medvl serve` does the real one; arguments: STUDIES PORT [KEY VALUE]..."""

import os
import sys
from pathlib import Path

from lib.cli.serve import run_server

if __name__ == "__main__":
    _, studies, port, *conf = sys.argv
    pairs = dict(zip(conf[::2], conf[1::2], strict=True))
    os._exit(run_server(studies, "127.0.0.1", int(port), pairs, Path(__file__).parent / "app"))
