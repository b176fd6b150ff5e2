"""Secrets in addresses never reach what is printed or stored."""

import pytest

from pam.redact import redact, without_user


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://pam:s3cret@db:5432/mlflow", "postgresql://pam:***@db:5432/mlflow"),
        ("postgresql+psycopg2://pam:p@ss@db/mlflow", "postgresql+psycopg2://pam:***@db/mlflow"),
        (
            "no answer of http://me:a:b@mlflow.example/api: refused",
            "no answer of http://me:***@mlflow.example/api: refused",
        ),
        ("http://:token@host", "http://:***@host"),
        ("two: ftp://a:b@c and http://d:e@f/g", "two: ftp://a:***@c and http://d:***@f/g"),
        ("s3://bucket/x?token=abc&region=eu", "s3://bucket/x?token=***&region=eu"),
        ("Authorization: Bearer abcdef0123456789", "Authorization: Bearer ***"),
    ],
)
def test_passwords_and_tokens_are_replaced(text, shown):
    assert redact(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "sqlite:////home/me/pam/mlflow/mlflow.db",
        "http://127.0.0.1:5000/#/experiments/1",
        "http://127.0.0.1:5000 (see me@example.org)",
        "the loss became nan in epoch 3: mail a:b@c",
        "Basic training",
    ],
)
def test_what_holds_no_secret_stays_as_it_is(text):
    assert redact(text) == text


def test_an_address_without_its_user_is_the_same_address():
    assert without_user("https://me:s3:cret@host:5000/path?x=1") == "https://host:5000/path?x=1"
    assert without_user("http://127.0.0.1:5000") == "http://127.0.0.1:5000"
