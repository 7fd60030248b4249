from oscar.core.loading import get_model

import livepush

Order, Line = get_model("order", "Order"), get_model("order", "Line")


@livepush.register(Order)
class OrderLive(livepush.ModelEvents):
    fields = ("status",)

    def groups(self, order):
        return [order, livepush.user_group(order.user_id)] if order.user_id else [order]


@livepush.register(Line)
class LineLive(livepush.ModelEvents):
    fields = ("quantity", "status")

    def groups(self, line):
        return [line, line.order]


@livepush.can_read("order:<int:pk>")
def order(user, pk):
    return Order.objects.filter(pk=pk, user=user.pk).exists()
