"""What a Python service imports to be watched: requests, models, memory, and the text that is scraped.

Needs prometheus_client and nothing else, knows nothing of the portal: a model server may copy this folder.
"""

from .bounds import OTHER
from .exposition import exposition, metrics_asgi, metrics_wsgi
from .memory import AllocatedLine, MemoryProfile, profile_memory
from .model import ModelMetrics
from .web import ROUTE_KEY, UNMATCHED, AsgiMetrics, WsgiMetrics, instrument_flask

__all__ = [
    "OTHER",
    "ROUTE_KEY",
    "UNMATCHED",
    "AllocatedLine",
    "AsgiMetrics",
    "MemoryProfile",
    "ModelMetrics",
    "WsgiMetrics",
    "exposition",
    "instrument_flask",
    "metrics_asgi",
    "metrics_wsgi",
    "profile_memory",
]
