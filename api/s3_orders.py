"""What `headstart upload s3://BUCKET/KEY` has the service fetch, by this shell's credentials."""

import os

from headstart.problems import Problem
from headstart.schema import S3Body

SCHEME = "s3://"


def order(uri: str, endpoint: str | None) -> S3Body:
    """The body of the request, from the variables that every S3 tool reads. Raises Problem."""
    said = os.environ.get
    access, secret = said("AWS_ACCESS_KEY_ID"), said("AWS_SECRET_ACCESS_KEY")
    if not access or not secret:
        words = "Say whose bucket it is: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        raise Problem(words, code="no_credentials")
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
