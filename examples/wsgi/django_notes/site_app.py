"""A small Django project: `ringway site_app:app` in this directory.

The tables are made when it is loaded. NOTES_DB says where they are; without
it they are in a temporary directory, and last as long as that. If
NOTES_ADMIN_PASSWORD is set, there is a user `admin` with it.
"""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")

import django  # noqa: E402
from django.contrib.staticfiles.handlers import StaticFilesHandler  # noqa: E402
from django.core.exceptions import SuspiciousFileOperation  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.http import Http404  # noqa: E402


def prepare():
    """Makes the tables, and the user `admin` if it is asked for."""
    django.setup()
    call_command("migrate", verbosity=0, interactive=False)
    # The models can be imported only when Django is set up.
    from django.contrib.auth.models import User

    password = os.environ.get("NOTES_ADMIN_PASSWORD")
    if password and not User.objects.filter(username="admin").exists():
        User.objects.create_superuser("admin", password=password)


class StaticFiles(StaticFilesHandler):
    """Serves the static files of all applications from where they lie.

    So neither a second server nor a copy of them is needed. It looks for them
    anew each time: a site with many visitors would not do this.
    """

    def serve(self, request):
        try:
            return super().serve(request)
        except SuspiciousFileOperation as error:
            # A path that leads out of the static files would otherwise be an
            # exception that leaves the application.
            raise Http404 from error


prepare()
app = StaticFiles(get_wsgi_application())
