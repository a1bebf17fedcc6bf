"""Hook of mkdocs: remove the two addresses from which the theme's script could load other scripts."""

from pathlib import Path


def on_post_build(config):
    """Point `unpkg.com` loads of the built scripts at an empty script."""
    for script in Path(config.site_dir).rglob("assets/javascripts/*.js"):
        text = script.read_text(encoding="utf-8")
        for name in ("resize-observer-polyfill", "mermaid@11/dist/mermaid.min.js"):
            text = text.replace(f"https://unpkg.com/{name}", "data:text/javascript,")
        script.write_text(text, encoding="utf-8")
