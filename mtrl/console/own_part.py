"""Parts of your own, named `module:name` on a command line: a loss, a translator, a data set."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from typing import Any

_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def is_own(name: str) -> bool:
    """Whether a text has the form `module:name`. A path of Windows ("C:\\x") has not."""
    return bool(_NAME.fullmatch(name))


def find_own(name: str, what: str) -> Any:
    """The object `name` ("module:name") of a module in the current folder or installed; importing it runs it.

    what  "loss", "translator" or "data set", for messages. Raises ValueError for a module that is not there or fails
    when it is imported, and for a name that it does not have.
    """
    if not is_own(name):
        raise ValueError(f"a {what} of your own is written module:name, not {name!r}")
    module, _, attribute = name.partition(":")
    here = str(Path.cwd())
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        found = importlib.import_module(module)
    except Exception as error:  # whatever the module does
        if (
            isinstance(error, ModuleNotFoundError)
            and error.name
            and f"{module}.".startswith(f"{error.name}.")
        ):
            raise ValueError(
                f"{what} {name}: there is no module {module} in {here} or among the installed ones"
            ) from error
        raise ValueError(
            f"{what} {name}: importing {module} ends with {type(error).__name__}: {error}"
        ) from error
    finally:
        if added and here in sys.path:
            sys.path.remove(here)
    if not hasattr(found, attribute):
        raise ValueError(f"{what} {name}: {found.__file__} defines no {attribute}")
    return getattr(found, attribute)
