"""The examples behind wsgiref's validator: `validated:flask_shop` and so on.

The validator stands between the server and the application, and fails a
request in which either of them breaks PEP 3333.
"""

import importlib
import sys
from pathlib import Path
from wsgiref.validate import validator

EXAMPLES = Path(__file__).parents[2] / "examples" / "wsgi"

MODULES = {
    "flaskapp": "flaskapp",
    "djangoapp": "djangoapp",
    "pyramidapp": "pyramidapp",
    "flask_shop": "flask_shop",
    "django_notes": "site_app",
    "pyramid_tree": "pyramid_tree",
}

sys.path[:0] = [str(EXAMPLES), str(EXAMPLES / "django_notes")]


def __getattr__(name):
    # Only the application that is asked for is loaded: Django can be set up
    # once in a process, and here are two that do.
    if name not in MODULES:
        raise AttributeError(name)
    app = validator(importlib.import_module(MODULES[name]).app)
    globals()[name] = app
    return app
