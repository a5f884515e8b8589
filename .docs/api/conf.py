"""Settings of Sphinx for the API reference: ``sphinx-build -W .docs/api .docs/api/build``."""

from kswap.version import __version__

project = "kswap"
version = release = __version__
extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["build"]
html_theme = "alabaster"
html_show_sourcelink = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
