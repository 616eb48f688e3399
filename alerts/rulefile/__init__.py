"""Rule files of Prometheus, both ways: read and import, export, and promtool's unit tests on our own engine."""
