"""Writes the formats of JSON schema, and pydantic's own, as patterns. Pure.

llguidance knows some formats itself. Of dates, times, durations and addresses of mail it lets
through some that no library reads (the year 0, the second 60, the 29th of February of 2021), so
these have patterns here. A pattern may take less than its format, and never more.
"""

import re

# Formats that llguidance enforces as they are meant.
_KNOWN_TO_COMPILER = frozenset({"hostname", "ipv4", "ipv6", "uri", "uuid"})

_YEAR = r"(?:000[1-9]|00[1-9]\d|0[1-9]\d\d|[1-9]\d{3})"
_LEAP_YEAR = r"(?:\d\d(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)"
_DATE = (
    rf"(?:{_YEAR}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])"
    r"|(?:0[469]|11)-(?:0[1-9]|[12]\d|30)|02-(?:0[1-9]|1\d|2[0-8]))"
    rf"|{_LEAP_YEAR}-02-29)"
)
_HOUR = r"(?:[01]\d|2[0-3])"
_TIME = rf"{_HOUR}:[0-5]\d:[0-5]\d(?:\.\d{{1,6}})?(?:Z|[+-]{_HOUR}:[0-5]\d)"
_CLOCK = r"T(?:\d{1,4}H(?:\d{1,4}M(?:\d{1,4}S)?)?|\d{1,4}M(?:\d{1,4}S)?|\d{1,4}S)"
_DAYS = r"(?:\d{1,4}Y(?:\d{1,4}M(?:\d{1,4}D)?)?|\d{1,4}M(?:\d{1,4}D)?|\d{1,4}D)"
_DURATION = rf"P(?:\d{{1,4}}W|{_DAYS}(?:{_CLOCK})?|{_CLOCK})"
_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,30}[A-Za-z0-9])?"
_MAILBOX = r"[A-Za-z0-9_+-]{1,32}(?:\.[A-Za-z0-9_+-]{1,16})?"
_EMAIL = rf"{_MAILBOX}@(?:{_NAME}\.){{1,4}}[A-Za-z]{{2,24}}"
_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_IPV4 = rf"{_OCTET}(?:\.{_OCTET}){{3}}"
_HEX = "[0-9a-f]"

_PATTERNS = {
    "date": _DATE,
    "time": _TIME,
    "date-time": rf"{_DATE}T{_TIME}",
    "duration": _DURATION,
    "email": _EMAIL,
    "ipv4network": rf"{_IPV4}/(?:3[0-2]|[12]?\d)",
    "ipv4interface": rf"{_IPV4}/(?:3[0-2]|[12]?\d)",
    "ipvanyaddress": _IPV4,
    "ipvanynetwork": rf"{_IPV4}/(?:3[0-2]|[12]?\d)",
    "ipvanyinterface": rf"{_IPV4}/(?:3[0-2]|[12]?\d)",
    # The compiler enforces it as the format of a text; names of properties need the pattern.
    "uuid": rf"{_HEX}{{8}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{12}}",
    "base64": r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?",
}
_UUID = re.compile(r"uuid([1-8])")

# The patterns of older versions of pydantic for `Decimal`. Their lookaheads say that there is a
# digit, and how many digits there are in all.
_DECIMAL = re.escape(r"^(?!^[-+.]*$)[+-]?0*")
_PLAIN_DECIMAL = re.compile(_DECIMAL + r"\\d\*\\\.\?\\d(?:\*|\{0,(?P<places>\d{1,2})\}0\*)\$")
_BOUNDED_DECIMAL = re.compile(
    _DECIMAL
    + r"\(\?:\\d\{0,(?P<whole>\d{1,2})\}\|\(\?=\[\\d\.\]\{1,(?P<all>\d{1,2})\}0\*\$\)"
    + r"\\d(?:\*|\{0,\d{1,2}\})\\\.\\d(?:\*|\{0,(?P<places>\d{1,2})\})0\*\$\)"
)


def is_compiled(name: str) -> bool:
    """True for a format that the compiler itself enforces."""
    return name in _KNOWN_TO_COMPILER


def pattern_of(name: str) -> str | None:
    """A pattern of texts that have the format; None for a format that is ignored."""
    version = _UUID.fullmatch(name)
    if version is not None:
        return rf"^{_HEX}{{8}}-{_HEX}{{4}}-{version[1]}{_HEX}{{3}}-[89ab]{_HEX}{{3}}-{_HEX}{{12}}$"
    found = _PATTERNS.get(name)
    return None if found is None else _in_ascii(rf"^(?:{found})$")


def without_lookahead(pattern: str) -> str:
    """A pattern for pydantic's `Decimal` without lookaheads, for the same numbers. Every other
    pattern comes back unchanged.
    """
    plain = _PLAIN_DECIMAL.fullmatch(pattern)
    if plain is not None:
        places = plain["places"]
        return _decimal(r"\d+", rf"\d{{1,{places}}}" if places else r"\d+", places)
    bounded = _BOUNDED_DECIMAL.fullmatch(pattern)
    if bounded is None:
        return pattern
    whole = int(bounded["whole"])
    if bounded["places"] is not None:
        digits = rf"\d{{1,{whole}}}" if whole else "0"
        return _decimal(digits, rf"\d{{1,{bounded['places']}}}", bounded["places"])
    # Only the digits in all are bounded: one alternative for each number of decimal places.
    cases = [rf"\d{{1,{whole - places}}}\.\d{{{places}}}" for places in range(1, whole)]
    cases.append(rf"\d{{1,{max(whole, 1)}}}")
    return _in_ascii(rf"^[+-]?(?:{'|'.join(cases)})$")


def _decimal(whole: str, fraction: str, places: str | None) -> str:
    return _in_ascii(rf"^[+-]?{whole}$" if places == "0" else rf"^[+-]?{whole}(?:\.{fraction})?$")


def _in_ascii(pattern: str) -> str:
    """The pattern without digits of other scripts, which the compiler's \\d takes."""
    return pattern.replace(r"\d", "[0-9]")
