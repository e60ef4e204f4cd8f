"""The database's own clock. Leases are compared with it alone: a worker's clock may be wrong."""

from typing import Any

from sqlalchemy import Float, bindparam
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from core.db.types import Instant


class now(FunctionElement[Any]):  # noqa: N801 - reads as the SQL function it is
    """The moment the statement started, plus `seconds` (which may be a fraction or negative)."""

    type = Instant()
    inherit_cache = True
    name = "now_plus"

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__(bindparam(None, float(seconds), type_=Float()))


@compiles(now, "sqlite")
def _sqlite(element: now, compiler: SQLCompiler, **options: Any) -> str:
    seconds = compiler.process(element.clauses, **options)
    # `%f` carries the milliseconds; the text sorts as the time does (core.db.types.Instant).
    return f"strftime('%Y-%m-%d %H:%M:%f', 'now', printf('%+.3f seconds', {seconds}))"


@compiles(now, "postgresql")
def _postgresql(element: now, compiler: SQLCompiler, **options: Any) -> str:
    seconds = compiler.process(element.clauses, **options)
    # Not now(): that is the start of the transaction, which may have waited for a lock since.
    return f"(statement_timestamp() + make_interval(secs => {seconds}))"
