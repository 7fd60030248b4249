from articles.models import Article, Review
from django.urls import include, path
from rest_framework import routers, serializers, viewsets


def viewset(found):
    class Serializer(serializers.ModelSerializer):
        author = serializers.HiddenField(default=serializers.CurrentUserDefault())

        class Meta:
            model = found
            fields = "__all__"
            extra_kwargs = {"tags": {"required": False}}

    class ViewSet(viewsets.ModelViewSet):
        queryset = found.objects.all()
        serializer_class = Serializer

    return ViewSet


router = routers.DefaultRouter()
for each in (Article, Review):
    router.register(f"{each._meta.model_name}s", viewset(each))
urlpatterns = [path("api/", include(router.urls)), path("livepush/", include("livepush.urls"))]
