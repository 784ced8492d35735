"""Pages that need no other file: one stylesheet, a template for each page, everything escaped.

In: the name of a template and its values. Out: HTML text.
"""

from .render import inline_image, render_page

__all__ = ["inline_image", "render_page"]
