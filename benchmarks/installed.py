"""Which versions an environment holds; run by its interpreter, it prints them as JSON.

`PYTHON benchmarks/installed.py PACKAGE ...`: other servers have environments of their own,
so nothing but the standard library is imported here.
"""

import json
import platform
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Look up those of the packages that this environment has."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    print(json.dumps({"python": platform.python_version(), **versions(sys.argv[1:])}))
