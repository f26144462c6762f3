"""Writes dashboards/run.json and dashboards/fleet.json. The JSON is what is shipped and imported; the scripts keep its panels alike.

After a change: `make golden`. A test fails while the two differ. A panel of its own is one call in `run.py` or `fleet.py`, in the
row where it belongs.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from fleet import FLEET
from run import RUN

DASHBOARDS = {"run.json": RUN, "fleet.json": FLEET}

if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("dashboards")
    for name, dashboard in DASHBOARDS.items():
        (folder / name).write_text(json.dumps(dashboard, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
