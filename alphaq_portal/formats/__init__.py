"""How dates are written on every page: sortable, 24 hours, with seconds."""
