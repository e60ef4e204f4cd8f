"""The one exception tree. No HTTP here: `api/problems.py` maps classes to statuses.

AppError                     internal
├── Unauthenticated          unauthenticated (or, to who knew the secret, key_revoked, key_expired)
├── Forbidden                forbidden
├── LimitReached             rate_limited (or: too_many_jobs, gpu_seconds_spent, queue_full)
├── NotFound                 not_found
├── Gone                     gone
├── InvalidInput             invalid_input
│   └── BadArchive           bad_archive (or more precise: unsafe_path, corrupt_archive)
├── TooLarge                 too_large
├── Conflict                 conflict
│   ├── DeletedMeanwhile     deleted_meanwhile
│   ├── IllegalTransition    illegal_transition
│   │   └── CancelRequested  cancel_requested
│   └── LeaseLost            lease_lost
├── DeadlinePassed           deadline_passed
├── Diverged                 diverged
├── CorruptObject            corrupt_object
└── Unavailable              unavailable
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Detail:
    """One of several things wrong with an input: where, which kind, and what to do about it."""

    place: str
    code: str
    message: str


class AppError(Exception):
    """Base of every error a caller may see: `stable_code` for code, `message` for people."""

    code: ClassVar[str] = "internal"

    def __init__(
        self, message: str, *, code: str | None = None, details: Sequence[Detail] = ()
    ) -> None:
        super().__init__(message)
        self.message = message
        self.stable_code = code or type(self).code
        self.details = tuple(details)


class Unauthenticated(AppError):
    """Nobody whom this service knows asks."""

    code = "unauthenticated"


class Forbidden(AppError):
    """Who asks is known, and may not do this."""

    code = "forbidden"


class LimitReached(AppError):
    """The caller's share is used up for now; `retry_after` says for how many seconds."""

    code = "rate_limited"

    def __init__(self, message: str, *, code: str | None = None, retry_after: float = 5.0) -> None:
        super().__init__(message, code=code)
        self.retry_after = retry_after


class NotFound(AppError):
    """The named thing does not exist (or is not the caller's)."""

    code = "not_found"


class DeadlinePassed(AppError):
    """It was to be over by now."""

    code = "deadline_passed"


class Gone(AppError):
    """The thing existed and was deleted, or its time is over; asking again is in vain."""

    code = "gone"


class InvalidInput(AppError):
    """The request can be understood but not accepted; the message says how to fix it."""

    code = "invalid_input"


class BadArchive(InvalidInput):
    """An uploaded archive that is not safe, not readable or not a dataset."""

    code = "bad_archive"


class TooLarge(AppError):
    """The input passes a documented limit."""

    code = "too_large"


class Conflict(AppError):
    """The thing is not in a state that allows this."""

    code = "conflict"


class DeletedMeanwhile(Conflict):
    """What this needs of a dataset was deleted while it was under way; begun anew it may do."""

    code = "deleted_meanwhile"


class IllegalTransition(Conflict):
    """A job cannot make this move from where it is."""

    code = "illegal_transition"


class CancelRequested(IllegalTransition):
    """Somebody was promised that this job will not succeed: what it made must not appear."""

    code = "cancel_requested"


class LeaseLost(Conflict):
    """Another worker holds the job now: stop at once and write nothing more."""

    code = "lease_lost"


class Diverged(AppError):
    """Training produced a loss that is not finite."""

    code = "diverged"


class CorruptObject(AppError):
    """Stored bytes do not match their recorded checksum."""

    code = "corrupt_object"


class Unavailable(AppError):
    """A dependency does not answer; trying again later may help."""

    code = "unavailable"
