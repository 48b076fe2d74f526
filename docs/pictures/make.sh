#!/usr/bin/env bash
# Takes the README's picture anew: the report of the demo's simulated CT, as a browser shows it.
# Needs chromium and the environment that `make demo` makes.
set -euo pipefail
cd "$(dirname "$0")/../.."
BIN=${BIN:-.venv/bin}
WIDTH=1120 HEIGHT=1045 # of what is shown, px

"$BIN/pulmoscope" demo -o out/demo --force
picture=$(mktemp --suffix .png)
trap 'rm -f "$picture"' EXIT
chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --window-size="$WIDTH,$HEIGHT" \
  --screenshot="$picture" "file://$PWD/out/demo/results/p0001/report.html" 2>/dev/null
"$BIN/python" - "$picture" docs/pictures/ct-report.webp <<'PYTHON'
import sys
from PIL import Image

Image.open(sys.argv[1]).convert("RGB").save(sys.argv[2], quality=85, method=6)
PYTHON
ls -l docs/pictures/ct-report.webp
