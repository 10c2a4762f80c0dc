"""The addresses of the notes."""

from django.contrib import admin
from django.urls import path
from notes import views

urlpatterns = [
    path("", views.front, name="front"),
    path("export", views.export, name="export"),
    path("source", views.source, name="source"),
    path("broken", views.broken, name="broken"),
    path("admin/", admin.site.urls),
]
