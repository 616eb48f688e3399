"""The WSGI application that gunicorn serves."""

import os

from django.core.wsgi import get_wsgi_application
from django.urls import reverse

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "alphaq_portal.settings")
application = get_wsgi_application()
# Loads all pages, once for the processes that share what is loaded before they are forked; no first request waits.
reverse("admin:index")
