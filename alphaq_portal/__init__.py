"""The project: composition only."""
