"""Django's Postgres, as the portal uses it."""
