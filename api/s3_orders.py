"""What `headstart upload s3://BUCKET/KEY` has the service fetch, by this shell's credentials."""

import ipaddress
import os
from urllib.parse import urlsplit

import httpx

from api.remote import Json, Refused, Remote

SCHEME = "s3://"
# The answer comes when the whole object is there.
PATIENT = httpx.Timeout(30.0, read=None)


def order(uri: str, endpoint: str | None) -> Json:
    """The body of the request, from the variables that every S3 tool reads. Raises Refused."""
    said = os.environ.get
    access, secret = said("AWS_ACCESS_KEY_ID"), said("AWS_SECRET_ACCESS_KEY")
    if not access or not secret:
        words = "Say whose bucket it is: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        raise Refused(words, code="no_credentials")
    region = said("AWS_REGION") or said("AWS_DEFAULT_REGION") or "us-east-1"
    named = endpoint or said("AWS_ENDPOINT_URL_S3") or said("AWS_ENDPOINT_URL")
    return {
        "uri": uri,
        "endpoint": named or f"https://s3.{region}.amazonaws.com",
        "region": region,
        "access_key": access,
        "secret_key": secret,
        "session_token": said("AWS_SESSION_TOKEN") or None,
    }


def fetched(remote: Remote, server: str, order: Json) -> str:
    """The id of the upload that the service has made of the object. Raises Refused."""
    if not _is_private(server):
        words = (
            f"{server} is not reached by https, so that others could read your secret key on its "
            "way: give HEADSTART_URL an https address."
        )
        raise Refused(words, code="readable_on_the_way")
    answer = remote.ask("POST", "/v1/uploads:s3", json=order, timeout=PATIENT)
    made: str = answer.json()["id"]
    return made


def _is_private(server: str) -> bool:
    url = urlsplit(server)
    host = url.hostname or ""
    if url.scheme == "https" or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
