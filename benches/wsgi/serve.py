"""Starts a peer that has no command of its own: `serve.py bjoern|fastpysgi MODULE PORT`."""

import importlib
import sys

name, module, port = sys.argv[1:]
app = importlib.import_module(module).app
if name == "bjoern":
    import bjoern

    bjoern.run(app, "127.0.0.1", int(port))
else:
    import fastpysgi

    fastpysgi.run(app, host="127.0.0.1", port=int(port))
