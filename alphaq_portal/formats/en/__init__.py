"""English texts, dates as in a log."""
