"""Pages of the documentation, taken apart: backticked spans, commands, links, headings."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for path in (
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("umad/**/*.md"),
        *ROOT.glob(".github/**/*.md"),
    )
    # The changelog tells what was so.
    if path.name != "CHANGELOG.md"
)
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page. path: from the root."""

    path: str
    text: str

    @property
    def folder(self) -> Path:
        return (ROOT / self.path).parent

    @property
    def prose(self) -> str:
        """The text without its blocks of code."""
        return _FENCE.sub("", self.text)

    def spans(self) -> list[str]:
        """What stands between backticks, on one line each."""
        return [" ".join(span.split()) for span in _SPAN.findall(self.prose)]

    def commands(self) -> Iterator[str]:
        """Command lines of console blocks, comments cut off."""
        for block in _CONSOLE.findall(self.text):
            for line in block.splitlines():
                if line.startswith("$ "):
                    yield re.split(r"\s+# |\s+#\s*$", line.removeprefix("$ "))[0].strip()

    def links(self) -> list[str]:
        return _LINK.findall(self.prose)

    def anchors(self) -> set[str]:
        """The names GitHub gives to headings."""
        found: dict[str, int] = {}
        anchors = set()
        for heading in _HEADING.findall(self.prose):
            text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
            slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
            n = found.get(slug, 0)
            found[slug] = n + 1
            anchors.add(slug if n == 0 else f"{slug}-{n}")
        return anchors


def page(path: Path) -> Page:
    return Page(path=str(path.relative_to(ROOT)), text=path.read_text())


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))
