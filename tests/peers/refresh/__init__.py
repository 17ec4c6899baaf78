"""Tokens that refresh themselves, against oidc-provider (npm, certified) with rotation and the ending of families on.

`expiry`: one refresh for each expiry, with a thousand requests at that moment and with three processes on one SQLite file
or one PostgreSQL. `crash`: SIGKILL at random moments. `faults`: token endpoints that fail in every way. `isolation`: a
thousand merchants that do not feel each other. `outage`: a database that restarts. `steps`: SIGKILL at each named
step of a refresh. `stores`: stores that are full, busy, read-only, or not there. `clocks`: processes whose clocks are wrong. `derive`: second
tokens. `told`: events as signed webhooks. `COUNTERSIGN_ONLY=crash tests/peers/run refresh` runs one of them.
"""

import os

from . import clocks, crash, derive, expiry, faults, isolation, outage, steps, stores, told
from .stage import Stage

PARTS = {"expiry": expiry, "crash": crash, "faults": faults, "isolation": isolation, "outage": outage, "steps": steps,
         "stores": stores, "derive": derive, "clocks": clocks, "told": told}


def checks(bench):
    stage = Stage(bench)
    only = os.environ.get("COUNTERSIGN_ONLY", "").split(",")
    for name, part in PARTS.items():
        if only == [""] or name in only:
            part.checks(stage)
