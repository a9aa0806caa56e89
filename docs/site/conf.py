"""The documents as a site: `make docs`. Sphinx reads this file; its names are Sphinx's settings."""

import sys
import tempfile
from importlib.metadata import version as version_of
from pathlib import Path

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parent))

import formulas
from routes import markdown

from models import Calibration, EmbeddingModel
from service.http.app import create_app
from service.retriever import Retriever
from service.settings import Settings

project = "RetrievalGuard"
author = "the authors of RetrievalGuard"
version = release = version_of("retrievalguard")

extensions = ["myst_parser"]
exclude_patterns = ["examples", "site"]
# Headings are named as GitHub names them, so that links work in both places.
myst_heading_anchors = 4
# Written as GitHub reads them, too: a fence of kind `math`.
myst_fence_as_directive = ["math"]
html_math_renderer = formulas.NAME

html_theme = "furo"
html_title = f"{project} {version}"
html_copy_source = False
html_show_sphinx = False

ROUTES = "routes"


def described(app: Sphinx, document: str, source: list[str]) -> None:
    """Put the routes, as the service describes itself, into their page."""
    if document != ROUTES:
        return
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(data_dir=Path(folder), model="digits-cnn", variant="eager")
        # What its routes are does not depend on how fast the network is: nothing is measured.
        fixed = Calibration.fixed(EmbeddingModel.load("digits-cnn"))
        (settings.data_dir / "calibration.json").write_text(fixed.model_dump_json())
        retriever = Retriever.open(settings)
        try:
            source[0] += markdown(create_app(retriever).openapi())
        finally:
            retriever.close()


def setup(app: Sphinx) -> None:
    """Drawings of the rooms stay text; formulas are set; the routes come from the code."""
    formulas.install(app)
    app.add_lexer("mermaid", TextLexer)
    app.connect("source-read", described)
