"""The latest messages on a page that a screen in the office shows."""

from html import escape
from pathlib import Path

from pydantic import Field

from qtnb.reporting.messages import Message
from qtnb.reporting.posting import DeliveryError
from qtnb.reporting.reporters import Reporter
from qtnb.utils.files import write_atomic

LINE = "<p class='{severity}'><b>{when}</b> {title}</p>\n"


class NoticeBoard(Reporter):
    "A channel: the newest message on top, the oldest fall off."

    path: Path = Field(description="the page; it is made when missing")
    lines: int = Field(20, ge=1, le=1_000, description="how many messages stay on it")

    def deliver(self, message: Message) -> str:
        "Put a message on the board."
        try:
            before = self.path.read_text(encoding="utf-8").splitlines(keepends=True) if self.path.is_file() else []
            line = LINE.format(severity=escape(message.severity), when=escape(message.when), title=escape(message.title))
            write_atomic(self.path, "".join([line, *before][: self.lines]))
        except OSError as error:
            raise DeliveryError(f"the board {str(self.path)!r} could not be written ({error.strerror or error})") from error
        return f"on the board {self.path.name}"
