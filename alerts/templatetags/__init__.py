"""Tags of templates that show alerting on pages of what is watched."""
