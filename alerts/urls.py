"""Addresses of the alerts app's pages."""

from django.urls import URLPattern

urlpatterns: list[URLPattern] = []
