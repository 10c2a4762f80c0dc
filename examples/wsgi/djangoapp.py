"""A hello page in Django, in a single file: `ringway djangoapp:app`."""

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path

settings.configure(
    ALLOWED_HOSTS=["localhost", "127.0.0.1", "[::1]"],
    ROOT_URLCONF=__name__,
    # Nothing on this page is signed, so any key will do.
    SECRET_KEY="only an example",
)


def hello(request):
    return HttpResponse("<p>Hello, World!</p>")


urlpatterns = [path("", hello)]

app = get_wsgi_application()
