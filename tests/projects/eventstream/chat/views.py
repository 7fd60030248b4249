from django.http import HttpResponse
from django_eventstream import send_event


def say(request, channel):
    send_event(channel, "message", {"text": request.GET["text"]})
    send_event(channel, "html", "<b>hello</b>\n<i>world</i>", json_encode=False)
    return HttpResponse("said")
