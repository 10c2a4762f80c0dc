"""The pages: the notes with a form, all of them streamed, and a file."""

from django import forms
from django.http import FileResponse, StreamingHttpResponse
from django.shortcuts import redirect, render

from .models import Note


class NoteForm(forms.ModelForm):
    class Meta:
        model = Note
        fields = ["text"]


def front(request):
    form = NoteForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        form.save()
        return redirect("front")
    return render(
        request, "notes/front.html", {"form": form, "notes": Note.objects.all()}
    )


def export(request):
    lines = (f"{note.pk}\t{note.text}\n" for note in Note.objects.iterator())
    return StreamingHttpResponse(lines, content_type="text/plain")


def source(request):
    return FileResponse(open(__file__, "rb"), content_type="text/x-python")


def broken(request):
    raise RuntimeError("this page is broken on purpose")
