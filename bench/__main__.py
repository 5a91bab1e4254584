"""``python -m bench``: ``stackcorr bench`` from a source tree."""

import sys

from gpu_stackcorr.cli import app

if __name__ == "__main__":
    app(["bench", *sys.argv[1:]])
