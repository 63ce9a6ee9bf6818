"""Webhook URLs that are refused when they are given, with a reason that says what to change."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain.errors import InvalidParameter
from core.settings import WebhookSettings
from core.webhooks.egress.url_policy import check_url

STRICT = WebhookSettings()
OPENED = WebhookSettings.model_validate({"allow_http": True, "allow_cidrs": ["127.0.0.0/8", "::1/128"]})

GOOD = [
    "https://example.com/hook",
    "https://example.com:8443/hook?token=1&x=%20",
    "https://sub.xn--mller-kva.example/",
    "https://93.184.215.14/hook",
    "https://[2606:4700:4700::1111]/hook",
    "HTTPS://EXAMPLE.COM/",
]
BAD = {
    "http://example.com/": "https://",
    "ftp://example.com/": "https://",
    "file:///etc/passwd": "https://",
    "gopher://example.com/": "https://",
    "javascript:alert(1)": "https://",
    "unix:///run/redis.sock": "https://",
    "//example.com/": "https://",
    "example.com/hook": "https://",
    "": "https://",
    "https://": "host",
    "https:///path": "host",
    "https://example.com:0/": "host",
    "https://example.com:99999/": "URL",
    "https://example.com:eighty/": "URL",
    "https://[::1/": "URL",
    "https://user@example.com/": "user",
    "https://user:password@example.com/": "user",
    "https://example.com@127.0.0.1/": "user",
    "https://example.com/#fragment": "fragment",
    "https://example.com/a b": "printable",
    "https://example.com/\r\nhost: internal": "printable",
    "https://example.com/\t": "printable",
    "https://example.com/\x00": "printable",
    "https://example.com/" + "x" * 2048: "2048",
    "https://127.0.0.1/": "INFERD_WEBHOOK_ALLOW_CIDRS",
    "https://10.0.0.1/": "INFERD_WEBHOOK_ALLOW_CIDRS",
    "https://169.254.169.254/latest/meta-data/": "INFERD_WEBHOOK_ALLOW_CIDRS",
    "https://[::1]/": "INFERD_WEBHOOK_ALLOW_CIDRS",
    "https://[::ffff:127.0.0.1]/": "INFERD_WEBHOOK_ALLOW_CIDRS",
    "https://[fe80::1%25eth0]/": "INFERD_WEBHOOK_ALLOW_CIDRS",
}


def refusal(url: str, settings: WebhookSettings) -> str | None:
    """Why the URL is refused; None when it is taken."""
    try:
        check_url(url, settings, "webhook.url")
    except InvalidParameter as refused:
        return refused.message
    return None


@pytest.mark.parametrize("url", GOOD)
def test_a_public_https_url_is_taken(url: str) -> None:
    assert refusal(url, STRICT) is None


@pytest.mark.parametrize(("url", "why"), BAD.items(), ids=[repr(url)[:40] for url in BAD])
def test_another_is_refused_with_a_reason(url: str, why: str) -> None:
    with pytest.raises(InvalidParameter) as refused:
        check_url(url, STRICT, "webhook.url")

    assert (refused.value.status, refused.value.code) == (422, "invalid_webhook_url")
    assert refused.value.param == "webhook.url"
    assert refused.value.message.startswith("webhook.url: ")
    assert why in refused.value.message
    # A URL may carry a token: it is not repeated.
    assert len(url) < 12 or url not in refused.value.message


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080/hook", "http://[::1]:1/", "https://127.1.2.3/", *GOOD])
def test_an_operator_may_open_http_and_ranges(url: str) -> None:
    assert refusal(url, OPENED) is None
    assert url in GOOD or refusal(url, STRICT) is not None


@pytest.mark.parametrize("url", ["http://10.0.0.1/", "http://169.254.169.254/", "ftp://127.0.0.1/"])
def test_what_the_operator_did_not_open_stays_closed(url: str) -> None:
    with pytest.raises(InvalidParameter):
        check_url(url, OPENED, "webhook.url")


@given(st.text(max_size=80))
def test_any_text_is_taken_or_refused(text: str) -> None:
    for url in (text, f"https://{text}", f"https://example.com/{text}"):
        try:
            check_url(url, STRICT, "webhook.url")
        except InvalidParameter:
            continue
        assert url.lower().startswith("https://")
        assert url.isprintable()
