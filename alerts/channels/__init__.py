"""Ways out, one a file: each takes a frozen config and a plain payload, returns a Receipt or raises a DeliveryError."""
