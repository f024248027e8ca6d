"""How Sphinx builds these pages; ``make docs`` runs it, and every warning is an error."""

import airflow_provider_riffusion

project = "airflow-provider-riffusion"
author = "The airflow-provider-riffusion developers"
version = release = airflow_provider_riffusion.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]
# Links to headings, as a repository's web page makes them.
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"

html_theme = "furo"
html_title = f"airflow-provider-riffusion {version}"
html_show_sphinx = html_copy_source = False
