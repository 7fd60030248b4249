import livepush
from articles.models import Article


@livepush.register(Article)
class ArticleLive(livepush.ModelEvents):
    fields = ("title",)
    m2m = ("tags",)

    def groups(self, article):
        return [article, "articles"]


@livepush.can_read("articles")
def articles(user):
    return user.is_authenticated


@livepush.can_read("article:<int:pk>")
def article(user, pk):
    return Article.objects.filter(pk=pk, author=user.pk).exists()
