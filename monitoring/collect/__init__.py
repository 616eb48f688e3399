"""Collectors: each reads one source and returns samples; none knows a model or reads the wall clock."""
