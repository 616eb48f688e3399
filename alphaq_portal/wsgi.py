"""The WSGI application that gunicorn serves."""

import os

from django.core.signals import request_finished
from django.core.wsgi import get_wsgi_application
from django.urls import reverse

from alphaq_portal.memory import give_back

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "alphaq_portal.settings")
application = get_wsgi_application()
request_finished.connect(give_back)
# Loads all pages, once for the processes that share what is loaded before they are forked; no first request waits.
reverse("admin:index")
