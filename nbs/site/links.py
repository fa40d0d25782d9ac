"""Follow every internal link, anchor and picture of a built site."""
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    "The ids that a page has, and the addresses that it names."

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if value is None:
                continue
            if name == "id" or (tag == "a" and name == "name"):
                self.ids.add(value)
            elif name in ("href", "src", "poster") and tag != "base":
                self.links.append(value)


def dead_links(site: Path) -> list[str]:
    "One line per internal address that leads nowhere: 'page.html: address'."
    pages = {p.relative_to(site).as_posix(): Page(p.read_text(encoding="utf-8")) for p in sorted(site.rglob("*.html")) if "_static" not in p.parts}
    dead = []
    for name, page in pages.items():
        for link in sorted(set(page.links)):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or link.startswith("data:"):
                continue
            target = (site / name).parent / unquote(parts.path) if parts.path else site / name
            target = target / "index.html" if target.is_dir() else target
            if not target.exists():
                dead.append(f"{name}: {link}")
            elif parts.fragment and (other := pages.get(target.resolve().relative_to(site.resolve()).as_posix())) is not None:
                if unquote(parts.fragment) not in other.ids:
                    dead.append(f"{name}: {link}")
    return dead
