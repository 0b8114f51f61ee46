#!/bin/bash
# The demo model on unseen scenes, through H.264 and whenscan: a table by frame rate, then a line a goal.
#   ./run prove demo-model [--short] [--scenes 500]
set -euo pipefail
command -v ffmpeg >/dev/null || { echo "demo-model: needs ffmpeg: apt-get install ffmpeg" >&2; exit 69; }
python3 -c 'import numpy' 2>/dev/null || { echo "demo-model: needs numpy: apt-get install python3-numpy" >&2; exit 69; }
exec python3 demo/evaluate.py "$@"
