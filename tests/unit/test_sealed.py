"""Bytes at rest: bound to tenant, place and row, and readable as they were written."""

import base64
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from core.access.webhook_secrets import new_secret, open_secret, seal_secret
from core.db.sealed import SealBroken, Sealer, make_sealer
from core.domain.ids import EndpointId, TenantId

TENANT, ROW = uuid4(), uuid4()


def key(byte: int) -> SecretStr:
    return SecretStr(base64.b64encode(bytes([byte]) * 32).decode())


PLAIN, SEALED, OTHER = make_sealer(None), make_sealer(key(1)), make_sealer(key(2))


@given(st.binary(max_size=300))
@pytest.mark.parametrize("sealer", [PLAIN, SEALED], ids=["plain", "sealed"])
def test_what_was_sealed_opens(sealer: Sealer, plaintext: bytes) -> None:
    assert sealer.open(sealer.seal(plaintext, TENANT, "jobs.request", ROW), TENANT, "jobs.request", ROW) == plaintext


def test_a_sealed_record_does_not_show_what_it_holds_and_is_never_twice_the_same() -> None:
    records = {SEALED.seal(b"a secret prompt", TENANT, "jobs.request", ROW) for _ in range(100)}

    assert len(records) == 100
    assert not [record for record in records if b"secret" in record]
    assert len({record[1:13] for record in records}) == 100


def test_a_plain_record_stays_readable_after_a_key_was_set() -> None:
    record = PLAIN.seal(b"old", TENANT, "jobs.request", ROW)

    assert SEALED.open(record, TENANT, "jobs.request", ROW) == b"old"


def test_a_sealed_record_opens_for_its_own_row_alone() -> None:
    record = SEALED.seal(b"mine", TENANT, "jobs.request", ROW)

    for tenant, place, row in (
        (uuid4(), "jobs.request", ROW),
        (TENANT, "results.output", ROW),
        (TENANT, "jobs.request", uuid4()),
        (ROW, "jobs.request", TENANT),
    ):
        with pytest.raises(SealBroken):
            SEALED.open(record, tenant, place, row)


@pytest.mark.parametrize("sealer", [PLAIN, OTHER], ids=["no key", "another key"])
def test_without_the_key_it_stays_shut(sealer: Sealer) -> None:
    record = SEALED.seal(b"mine", TENANT, "jobs.request", ROW)

    with pytest.raises(SealBroken, match=r"^jobs\.request: "):
        sealer.open(record, TENANT, "jobs.request", ROW)


def test_any_change_of_a_byte_is_seen() -> None:
    record = SEALED.seal(b"mine", TENANT, "jobs.request", ROW)

    for position in range(len(record)):
        changed = bytearray(record)
        changed[position] ^= 0x80
        with pytest.raises(SealBroken):
            SEALED.open(bytes(changed), TENANT, "jobs.request", ROW)


def test_a_record_that_was_cut_is_broken() -> None:
    record = SEALED.seal(b"mine", TENANT, "jobs.request", ROW)

    for length in range(len(record)):
        with pytest.raises(SealBroken):
            SEALED.open(record[:length], TENANT, "jobs.request", ROW)


def test_webhook_secrets_are_sealed_for_their_owner() -> None:
    tenant, endpoint = TenantId(uuid4()), EndpointId(uuid4())
    secret = new_secret()

    of_tenant, of_endpoint = seal_secret(SEALED, secret, tenant), seal_secret(SEALED, secret, tenant, endpoint)

    assert open_secret(SEALED, of_tenant, tenant) == open_secret(SEALED, of_endpoint, tenant, endpoint) == secret
    with pytest.raises(SealBroken):
        open_secret(SEALED, of_tenant, tenant, endpoint)
    with pytest.raises(SealBroken):
        open_secret(SEALED, of_endpoint, tenant)


def test_a_webhook_secret_is_32_random_bytes_as_standard_webhooks_writes_them() -> None:
    made = {new_secret() for _ in range(50)}

    assert len(made) == 50
    assert {len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) for secret in made} == {32}
    assert all(secret.startswith("whsec_") for secret in made)
