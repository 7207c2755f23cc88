"""An image's entry point, as a fork runs it: the parent of a fork cannot be asked what it exited
with, so that is left in a file."""

import os
import runpy
from pathlib import Path

code: object = 1
try:
    runpy.run_path(os.environ["ENTRY_POINT"], run_name="__main__")
    code = 0
except SystemExit as exc:
    code = exc.code or 0
finally:
    Path("exited").write_text(str(code))
