"""Dashboards: their specifications, Grafana's JSON both ways, the answers of panels, and the built-in ones."""
