"""Write config/schema.json and config/README.md from the models: `python -m deep_restoration.study`."""

from pathlib import Path

from . import reference

CONFIG = Path(__file__).resolve().parents[3] / "config"
FILES = {CONFIG / "schema.json": reference.schema_json, CONFIG / "README.md": reference.readme}

if __name__ == "__main__":
    for path, text in FILES.items():
        path.write_text(text(), encoding="utf-8")
        print(path)
