from django.urls import include, path
from rest_framework.authtoken.views import obtain_auth_token
from rest_framework_simplejwt.views import TokenObtainPairView

urlpatterns = [
    path("livepush/", include("livepush.urls")),
    path("api/token/", obtain_auth_token),
    path("api/jwt/", TokenObtainPairView.as_view()),
    path("_allauth/", include("allauth.headless.urls")),
]
