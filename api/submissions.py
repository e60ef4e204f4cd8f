"""Requests that queue a job: once for each `Idempotency-Key`, announced after the commit."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Response
from pydantic import AfterValidator

from api import contract
from api.deps import UnitOfWork, WorkDep
from core.domain.jobs import Job
from core.services import idempotency

REPLAYED = "Idempotency-Replayed"
KEY = re.compile(r"[!#-\[\]-~]{1,255}")
DESCRIPTION = (
    "A name for this request, of your own and new for each, a UUID say: who repeats it under the "
    "same key, because the answer was lost, gets the same job again. Kept for 24 hours at least. "
    "With another body it is refused (422 `idempotency_key_reused`); while the first request is "
    "still being worked on it may be (409 `idempotency_key_in_flight`)."
)
ON_A_DATASET = ("dataset_deleted", "not_found", "source_deleted", "statistics_only",
                "unknown_embedder")  # fmt: skip


def answers(*codes: str) -> contract.Answers:
    """Those of a route that queues a job, which may also be refused with these codes."""
    return {
        202: contract.headers("Location", "Retry-After", REPLAYED),
        **contract.refusals(
            "idempotency_key_in_flight",
            "idempotency_key_reused",
            "too_many_jobs",
            "gpu_seconds_spent",
            "queue_full",
            *codes,
        ),
    }


def clean_key(text: str) -> str:
    """The key that a header holds, bare or in quotation marks. Raises ValueError."""
    quoted = len(text) > 1 and text[0] == text[-1] == '"'
    key = text[1:-1] if quoted else text
    if not KEY.fullmatch(key):
        raise ValueError(
            "a key has 1 to 255 visible ASCII characters, none of them a quotation mark or "
            "backslash: a UUID will do"
        )
    return key


@dataclass(frozen=True, slots=True)
class Submission:
    """One such request."""

    work: UnitOfWork
    response: Response
    key: str | None

    def queue(self, asked: object, make: Callable[[], Job], *, retry_after: int) -> Job:
        """The job that `make` queues in this transaction, or the one its key stands for.

        `asked` is everything the request asks for. Says in headers where to look, and when.
        """
        session = self.work.session
        job, replayed = idempotency.once(session, self.key, asked=asked, make=make)
        self.response.headers["Location"] = f"/v1/jobs/{job.id}"
        self.response.headers["Retry-After"] = str(retry_after)
        if replayed:
            self.response.headers[REPLAYED] = "true"
        else:
            self.work.announce(job)
        return job


# No plain function, for which each request would wait for a thread.
async def submission(
    work: WorkDep,
    response: Response,
    key: Annotated[
        Annotated[str, AfterValidator(clean_key)] | None,
        Header(
            alias="Idempotency-Key",
            description=DESCRIPTION,
            json_schema_extra={"pattern": f'^({KEY.pattern}|"{KEY.pattern}")$'},
        ),
    ] = None,
) -> Submission:
    """The request's transaction and key."""
    return Submission(work, response, key)


SubmissionDep = Annotated[Submission, Depends(submission, scope="function")]
