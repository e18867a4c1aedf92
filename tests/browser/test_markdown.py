"""Answers are Markdown, and nothing a model writes becomes live: no HTML, no script, no request."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.browsing import Script, ask, opened
from tests.gateway.gateways import LiveGateway

CODE = "def f(x: int) -> bool:\n    return x < 3 & True"
FENCED = f"Before\n\n```python\n{CODE}\n```\n\nAfter"
# Elements that Markdown may become; everything else would be markup of the model's.
_TEXT = {"P", "H3", "H4", "H5", "H6", "UL", "OL", "LI", "BLOCKQUOTE", "HR", "BR", "STRONG", "EM"}
_FRAMES = {"DEL", "CODE", "PRE", "A", "SPAN", "DIV", "BUTTON"}
ALLOWED = _TEXT | _FRAMES | {"TABLE", "THEAD", "TBODY", "TR", "TH", "TD"}


@pytest.fixture(scope="module")
def shared(browser: Browser, gateway: LiveGateway) -> Iterator[Page]:
    """One page for the rows of a table: opening a browser is most of a test's time."""
    with opened(browser, gateway.address) as one:
        yield one


def answered(page: Page, *pieces: str) -> str:
    """The HTML that an answer becomes."""
    page.unroute_all()
    page.click("#clear")
    Script(page).says(*pieces)
    ask(page, "Go on")
    return str(page.locator(".turn[data-done] .said").inner_html())


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("# Title\n\nText", "<h3>Title</h3><p>Text</p>"),
        ("**a** *b* ~~c~~ `d*`", "<strong>a</strong> <em>b</em> <del>c</del> <code>d*</code>"),
        ("one\ntwo", "<p>one<br>two</p>"),
        ("- a\n- b\n  - c", "<ul><li>a</li><li>b<ul><li>c</li></ul></li></ul>"),
        ("3. a\n4. b", '<ol start="3"><li>a</li><li>b</li></ol>'),
        ("> said", "<blockquote><p>said</p></blockquote>"),
        ("---", "<hr>"),
        ("| a | b |\n|---|--:|\n| 1 | x<br>y |", '<td class="to-right">x<br>y</td>'),
        ("- [x] done", "☑ done"),
        (r"2 \* 3", "<p>2 * 3</p>"),
        ("AT&amp;T &#8364; &nix;", "<p>AT&amp;T € &amp;nix;</p>"),
        ("snake_case_name and 2*3*4", "snake_case_name and 2<em>3</em>4"),
        ("```\nnever closed", "<code>never closed</code>"),
    ],
)
def test_markdown_becomes_what_its_writer_meant(shared: Page, text: str, html: str) -> None:
    assert html in answered(shared, text)


@pytest.mark.parametrize(
    "text",
    [
        "<script>document.title='gone'</script>",
        "Look: <img src=x onerror=\"document.title='gone'\">",
        "<svg/onload=\"document.title='gone'\">",
        "<div onclick=\"document.title='gone'\">\n\nhere\n\n</div>",
        "<iframe src=\"javascript:parent.document.title='gone'\"></iframe>",
        "<style>body { display: none }</style>",
        "<a href=\"javascript:document.title='gone'\">here</a>",
        '<base href="//evil.example">',
        "[here](javascript:document.title='gone')",
        "[here](JaVaScRiPt:document.title='gone')",
        "[here](&#106;avascript:document.title='gone')",
        "[here](javascript&colon;document.title='gone')",
        "[here](java\tscript:document.title='gone')",
        "[here](data:text/html,<script>1</script>)",
        "[here](vbscript:x)",
        "[here](//evil.example/x)",
        "[here](/unload)",
        "<javascript:document.title='gone'>",
        "[here][1]\n\n[1]: javascript:document.title='gone'",
        "![pixel](/status?seen)",
        "![pixel](data:image/png;base64,AAAA)",
        "![x\" onerror=\"document.title='gone'](x)",
        "`<img src=x onerror=document.title='gone'>`",
        "```<img src=x onerror=alert(1)>\n<script>1</script>\n```",
        "| <img src=x onerror=alert(1)> |\n|---|\n| <script>1</script> |",
        "# <script>document.title='gone'</script>",
        "&lt;script&gt;document.title='gone'&lt;/script&gt;",
    ],
)
def test_nothing_of_an_answer_becomes_live(shared: Page, text: str) -> None:
    asked: list[str] = []
    shared.on("request", lambda request: asked.append(request.url))
    answered(shared, text)

    said = shared.locator(".turn[data-done] .said")
    tags = said.evaluate("home => [...home.querySelectorAll('*')].map((one) => one.tagName)")
    names = said.evaluate(
        "home => [...home.querySelectorAll('*')].flatMap((one) => one.getAttributeNames())"
    )
    links = said.locator("a").evaluate_all("all => all.map((one) => one.protocol)")
    assert set(tags) <= ALLOWED
    assert not [name for name in names if name.startswith("on") or name in ("src", "style")]
    assert set(links) <= {"http:", "https:", "mailto:"}
    assert not [url for url in asked if "seen" in url or "example" in url]
    assert shared.title() == "umad"


def test_a_remote_image_is_a_link_and_is_not_loaded(shared: Page) -> None:
    asked: list[str] = []
    shared.on("request", lambda request: asked.append(request.url))
    answered(shared, "![a cat](https://cats.example/1.png)")

    link = shared.locator(".turn[data-done] a")
    expect(link).to_have_text("[image: a cat]")
    expect(link).to_have_attribute("href", "https://cats.example/1.png")
    assert not [url for url in asked if "cats" in url]


def test_a_link_leads_to_a_page_of_its_own_and_tells_it_nothing(shared: Page) -> None:
    answered(shared, "[docs](https://docs.example/a?b=1&c=2)")

    link = shared.locator(".turn[data-done] a")
    expect(link).to_have_attribute("href", "https://docs.example/a?b=1&c=2")
    expect(link).to_have_attribute("target", "_blank")
    assert {"noopener", "noreferrer"} <= set((link.get_attribute("rel") or "").split())


def test_code_has_its_language_and_a_button_that_copies_all_of_it(
    browser: Browser, gateway: LiveGateway
) -> None:
    with opened(
        browser, gateway.address, permissions=["clipboard-read", "clipboard-write"]
    ) as page:
        answered(page, FENCED)
        expect(page.locator(".code-head span")).to_have_text("python")
        page.get_by_label("Copy code").click()
        expect(page.locator(".code-head .copy")).to_have_text("Copied")
        assert page.evaluate("navigator.clipboard.readText()") == CODE

        page.get_by_label("Copy this answer").click()
        expect(page.locator(".deeds .copy").last).to_have_text("Copied")
        assert page.evaluate("navigator.clipboard.readText()") == FENCED


@pytest.mark.parametrize(
    "text",
    [
        FENCED,
        "1. a\n\n   ```js\n   f()\n   ```\n2. b\n   - c\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\nend",
        "A [link][1] **bold *both***\n\n> quoted\n> on\n\n[1]: https://a.example\n\n# Last",
        "a\n===\n\nb <b>c</b> ``d ` e``",
    ],
)
def test_an_answer_in_pieces_looks_like_the_same_at_once(shared: Page, text: str) -> None:
    assert answered(shared, *text) == answered(shared, text)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("> " * 3000 + "deep", id="quotes in quotes"),
        pytest.param("*a " * 3000, id="stars that never close"),
        pytest.param("[" * 3000 + "x", id="brackets that never close"),
        pytest.param("- " * 800 + "x", id="lists in lists"),
        pytest.param("`" * 5000, id="nothing but marks"),
    ],
)
def test_an_answer_that_is_hard_to_parse_is_shown_and_the_page_goes_on(
    shared: Page, text: str
) -> None:
    assert answered(shared, text)

    expect(shared.locator("#send")).to_be_visible()
