"""HTML from the templates of this folder."""

import base64
from pathlib import Path
from typing import Any

import jinja2

__all__ = ["inline_image", "render_page"]


def render_page(template: str, **values: Any) -> str:
    """Fill a template; every text is escaped.

    Args:
        template: its name in this folder without ``.html.j2``.
        **values: what it shows; one that is missing is an error.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(f"{template}.html.j2").render(**values)


def inline_image(path: Path) -> str:
    """A PNG file as the ``src`` of an image that needs no file."""
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return f"data:image/png;base64,{data}"
