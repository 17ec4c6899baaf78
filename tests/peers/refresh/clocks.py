"""Processes whose clocks are five minutes off, one ahead and one behind, beside one that is right: on one PostgreSQL, whose clock
is the one that counts, and alone on a SQLite file. The wrong time is made by libfaketime (Debian: faketime); monotonic time stays.
"""

import contextlib
import glob
import os

from databases import Database

from . import expiry

OFF = 300  # seconds
LIBRARY = sorted(glob.glob("/usr/lib/*/faketime/libfaketime.so.1"))


@contextlib.contextmanager
def wrong(seconds):
    """What is started meanwhile sees another time of day."""
    if seconds:
        os.environ.update(LD_PRELOAD=LIBRARY[0], FAKETIME=f"{seconds:+d}s", FAKETIME_DONT_FAKE_MONOTONIC="1")
    try:
        yield
    finally:
        for name in ("LD_PRELOAD", "FAKETIME", "FAKETIME_DONT_FAKE_MONOTONIC"):
            os.environ.pop(name, None)


def checks(stage):
    if not LIBRARY:
        stage.report.note("clocks: not checked, there is no libfaketime (Debian: apt-get install faketime)")
        stage.report.skipped += 1
        return
    stage.bench.secrets(stage.secrets, state__clocks=Database(stage.bench).create("clocks"))
    expiry.three(stage, "three whose clocks are five minutes apart", [{"secret": "state/clocks"}] * 3,
                 [wrong(OFF), wrong(0), wrong(-OFF)])
    for seconds in (OFF, -OFF):
        name = f"one whose clock is {OFF} s {'ahead' if seconds > 0 else 'behind'}"
        expiry.three(stage, name, [stage.sqlite(f"clock{seconds}")], [wrong(seconds)])
