"""A tree of documents in Pyramid, by traversal: `ringway pyramid_tree:app`.

The path of a request walks down the tree, and the kind of what it arrives at
chooses the view. A PUT or a POST to `add` plants; the tree lives in memory.
"""

import threading
from wsgiref.util import FileWrapper

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPBadRequest, HTTPSeeOther
from pyramid.response import FileResponse, Response
from pyramid.view import (
    exception_view_config,
    notfound_view_config,
    view_config,
)


class Folder(dict):
    """A resource with children: traversal asks it for them by key."""

    def __init__(self, name="", parent=None):
        super().__init__()
        self.__name__ = name
        self.__parent__ = parent


class Document:
    """A leaf. It has no `__getitem__`, so traversal ends here."""

    def __init__(self, name, parent, text):
        self.__name__ = name
        self.__parent__ = parent
        self.text = text


class Full(Exception):
    """A folder that takes no more documents."""


FOLDER_SIZE_MAX = 100

# Several threads may plant at once.
planting = threading.Lock()


def plant(folder, name, text):
    with planting:
        if len(folder) >= FOLDER_SIZE_MAX:
            raise Full(f"{folder.__name__ or 'the root'} is full")
        folder[name] = document = Document(name, folder, text)
    return document


root = Folder()
root["trees"] = trees = Folder("trees", root)
plant(root, "readme", "A tree of documents.")
plant(trees, "oak", "The oak keeps its leaves for long.")
plant(trees, "größe", "Up to 40 m.")


@view_config(context=Folder, renderer="json")
def folder(context, request):
    return {
        "path": request.resource_path(context),
        "children": {
            name: request.resource_url(child)
            for name, child in context.items()
        },
    }


@view_config(context=Document)
def document(context, request):
    response = Response(
        context.text,
        content_type="text/plain",
        charset="utf-8",
        conditional_response=True,
    )
    response.md5_etag()
    return response


@view_config(context=Document, name="words")
def words(context, request):
    # One word at a time, so that nothing knows the length before the end.
    return Response(
        app_iter=(f"{word}\n".encode() for word in context.text.split()),
        content_type="text/plain",
        charset="utf-8",
    )


@view_config(context=Folder, name="add", request_method="POST")
def add(context, request):
    try:
        name, text = request.POST["name"], request.POST["text"]
    except KeyError as error:
        raise HTTPBadRequest(f"{error.args[0]} is missing") from error
    planted = plant(context, name, text)
    return HTTPSeeOther(request.resource_url(planted))


@view_config(context=Folder, name="source")
def source(context, request):
    return FileResponse(__file__, request, content_type="text/x-python")


@view_config(context=Folder, name="wrapped")
def wrapped(context, request):
    # The server's own way to send a file, if it has one.
    wrapper = request.environ.get("wsgi.file_wrapper", FileWrapper)
    return Response(
        app_iter=wrapper(open(__file__, "rb")), content_type="text/x-python"
    )


@view_config(context=Folder, name="full")
def full(context, request):
    raise Full("full on purpose")


@view_config(context=Folder, name="broken")
def broken(context, request):
    raise RuntimeError("this view is broken on purpose")


@exception_view_config(Full)
def no_room(error, request):
    return Response(f"No room: {error}\n", 507, content_type="text/plain")


@exception_view_config(Exception)
def failed(error, request):
    return Response("Our fault\n", 500, content_type="text/plain")


@notfound_view_config()
def missing(request):
    return Response("Not in this tree\n", 404, content_type="text/plain")


with Configurator(root_factory=lambda request: root) as config:
    config.scan(__name__)
    app = config.make_wsgi_app()
