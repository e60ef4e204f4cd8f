"""The Headstart client: neural architecture search by HTTP, blocking or asynchronous.

>>> with headstart.Client() as client:
...     client.datasets.upload("digits.zip", name="digits")
...     search = client.searches.create("digits")
...     search.download("model")
"""

from headstart._async.client import AsyncClient
from headstart._async.jobs import AsyncJob
from headstart._async.prunings import AsyncPruning
from headstart._async.searches import AsyncSearch
from headstart._sync.client import Client
from headstart._sync.jobs import Job
from headstart._sync.prunings import Pruning
from headstart._sync.searches import Search
from headstart.events import Event
from headstart.problems import (
    Conflict,
    Forbidden,
    Invalid,
    JobCancelled,
    JobFailed,
    NotFound,
    Problem,
    RateLimited,
    Timeout,
    Unauthenticated,
    Unreachable,
)

__all__ = [
    "AsyncClient",
    "AsyncJob",
    "AsyncPruning",
    "AsyncSearch",
    "Client",
    "Conflict",
    "Event",
    "Forbidden",
    "Invalid",
    "Job",
    "JobCancelled",
    "JobFailed",
    "NotFound",
    "Problem",
    "Pruning",
    "RateLimited",
    "Search",
    "Timeout",
    "Unauthenticated",
    "Unreachable",
]
