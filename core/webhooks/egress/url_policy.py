"""Refuses a bad webhook URL when it is submitted, instead of failing its deliveries later. Called by the routes.

Only for good messages: what protects the network is the check at the socket (post.py). The parser is the sending
client's own, because two parsers disagree about malformed URLs.
"""

import re
from ipaddress import ip_address
from typing import Final

from yarl import URL

from core.domain.errors import InvalidParameter
from core.settings import WebhookSettings
from core.webhooks.egress.addresses import is_allowed

_LONGEST: Final = 2048
_LONGEST_HOST: Final = 253
_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
# The last label is no number: `127.1` and `0x7f.1` are addresses to some parsers, and names to others.
_HOST: Final = re.compile(rf"(?:{_LABEL}\.)*(?!(?:\d+|0x[0-9a-f]*)\.?$){_LABEL}\.?", re.ASCII)


def check_url(text: str, settings: WebhookSettings, param: str) -> None:
    """Raises InvalidParameter, which names `param` and says what to change."""
    problem = _problem(text, settings)
    if problem is not None:
        raise InvalidParameter(f"{param}: {problem}", code="invalid_webhook_url", param=param)


def _problem(text: str, settings: WebhookSettings) -> str | None:
    if len(text) > _LONGEST or not text.isprintable() or " " in text:
        return f"must be at most {_LONGEST} printable characters without spaces."
    try:
        url = URL(text)
        host, port = url.host, url.explicit_port
    except ValueError:
        return "is not a URL."
    schemes = ("https", "http") if settings.allow_http else ("https",)
    if url.scheme not in schemes:
        return f"must start with {' or '.join(f'{scheme}://' for scheme in schemes)}."
    if not host or port == 0:
        return "must name a host."
    if url.user is not None or url.password is not None or url.fragment:
        return "must have no user, password or fragment."
    return _host_problem(host, url.raw_host or "", settings)


def _host_problem(host: str, encoded: str, settings: WebhookSettings) -> str | None:
    try:
        ip_address(host)
    except ValueError:
        if len(encoded) <= _LONGEST_HOST and _HOST.fullmatch(encoded.lower()):
            return None
        return "must name a host, by a name that DNS can have."
    if is_allowed(host, settings.allow_cidrs):
        return None
    return "must not name an address that is not public; an operator can open a range with INFERD_WEBHOOK_ALLOW_CIDRS."
