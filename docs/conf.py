"""Sphinx: Markdown pages, and a reference generated from the code itself."""

import inspect
import re
import sys
from pathlib import Path

import pydantic

import batchlimit

sys.path.insert(0, str(Path(__file__).parent))

import generate

project = "batchlimit"
author = "the batchlimit authors"
project_copyright = "2026, the batchlimit authors"
release = version = batchlimit.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_mock_imports = ["ray"]
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
default_role = "code"
maximum_signature_line_length = 100

html_theme = "furo"
html_title = "batchlimit"
html_show_sphinx = False


def escape_plain_text(app, what, name, obj, options, lines):
    """Make docstrings, which are plain text with `code` in it, safe as reStructuredText: ||w|| is no substitution."""
    for number, line in enumerate(lines):
        parts = re.split(r"(`[^`]*`)", line)
        parts[::2] = [re.sub(r"([*|]|_(?!\w))", r"\\\1", part) for part in parts[::2]]
        lines[number] = "".join(parts)


def skip_foreign(app, what, name, obj, skip, options):
    """Leave out what other packages bring in (a field's default, pydantic's own settings); None leaves it to Sphinx."""
    foreign = inspect.isfunction(obj) and not obj.__module__.startswith("batchlimit")
    return True if foreign or name == "model_config" else None


def plain_fields(app, what, name, obj, options, signature, returned):
    """Show a configuration's fields as name=default: their types and bounds are on the page of settings."""
    if not (inspect.isclass(obj) and issubclass(obj, pydantic.BaseModel)):
        return None
    fields = [key if field.is_required() else f"{key}=..." for key, field in obj.model_fields.items()]
    return f"(*, {', '.join(fields)})" if fields else "", None


def setup(app):
    """Write the generated pages before Sphinx looks for pages, and read docstrings as plain text."""
    generate.write(Path(app.srcdir))
    app.connect("autodoc-process-docstring", escape_plain_text, priority=100)
    app.connect("autodoc-process-signature", plain_fields)
    app.connect("autodoc-skip-member", skip_foreign)
