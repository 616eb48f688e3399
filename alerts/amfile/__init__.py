"""Alertmanager's configuration file, both ways: read and checked, kept as rows, written again.

`read` turns text into a Config or says everything that is wrong with it; `keep` makes the rows agree with a Config;
`write` makes a file of the rows that amtool accepts; `detach` gives what a file brought to staff.
"""

from alerts.amfile.config import Config, ConfigError
from alerts.amfile.detach import detach
from alerts.amfile.keep import Kept, keep, keep_checked
from alerts.amfile.read import Files, read
from alerts.amfile.write import told_receivers, write

__all__ = [
    "Config", "ConfigError", "Files", "Kept", "detach", "keep", "keep_checked", "read", "told_receivers", "write",
]  # fmt: skip
