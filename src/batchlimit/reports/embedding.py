"""Data and scripts inside a page: written so that no text of a user can leave its place."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from typing import Any

import vl_convert

# In a script element only these can end it, open a comment, or (U+2028 and U+2029) end a line of JavaScript.
_ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def embedded_json(value: Any) -> str:
    """Return `value` as JSON that is safe as the text of a script element.

    Raises:
        ValueError: it holds NaN or an infinity, which are not JSON.
    """
    text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    text = text.encode("utf-8", errors="replace").decode("utf-8")
    for letter, escape in _ESCAPES.items():
        text = text.replace(letter, escape)
    return text


def data_uri(svg: str) -> str:
    """Return an SVG as a `data:` address for an img element, in which no script runs."""
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode('utf-8', errors='replace')).decode('ascii')}"


@functools.cache
def chart_library() -> str:
    """Return Vega, Vega-Lite and Vega-Embed as one script that sets `window.vegaEmbed`, from what vl-convert bundles.

    Nothing is fetched. The text is the script's own and holds no '</script'.
    """
    script = str(vl_convert.javascript_bundle("window.vegaEmbed=vegaEmbed;"))
    assert not any(end in script.lower() for end in ("</script", "<!--")), "the bundle cannot stand in a script element"
    # The bundle is a module: keep its top-level names out of the page's.
    return f"(()=>{{{script}\n}})();"


def integrity(script: str) -> str:
    """Return the source expression that lets a Content-Security-Policy run this very script and no other."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode('ascii')}'"
