"""The servers that tests stand on are real, ours alone, and gone when the tests are gone."""

import psycopg
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

pytestmark = pytest.mark.services


def test_postgres_gives_each_test_its_own_empty_database(
    postgres_url: str, postgres_server: str
) -> None:
    engine = create_engine(postgres_url)
    with engine.begin() as connection:
        name = connection.scalar(text("SELECT current_database()"))
        tables = connection.scalar(
            text("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
        )
    engine.dispose()
    assert name == make_url(postgres_url).database != make_url(postgres_server).database
    assert tables == 0


def test_postgres_refuses_a_wrong_password(postgres_url: str) -> None:
    wrong = make_url(postgres_url).set(drivername="postgresql", password="wrong")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(wrong.render_as_string(hide_password=False))


@pytest.mark.parametrize("turn", [1, 2])
def test_redis_is_empty_at_the_start_of_each_test(redis_url: str, turn: int) -> None:
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0
        client.set("left-behind", turn)


def test_redis_wants_its_password(redis_url: str) -> None:
    once = Retry(NoBackoff(), 0)
    client = redis.Redis(port=make_url(redis_url).port or 0, retry=once)
    with client, pytest.raises(redis.AuthenticationError):
        client.ping()
