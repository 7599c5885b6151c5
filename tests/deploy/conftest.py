"""The service's settings are those of the files in deploy/, not of the shell that runs the tests.

Removed here and not in a fixture, since cases are made of the files while tests are collected.
"""

import os

for name in [name for name in os.environ if name.startswith("RESNET_")]:
    del os.environ[name]
