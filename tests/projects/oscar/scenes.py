"""A shop made of django-oscar: its orders, lines and stock are followed live."""

from __future__ import annotations

from common import log_in, serving
from django.contrib.auth.models import User
from django.db import transaction
from oscar.core.loading import get_model
from oscar.test.factories import create_order, create_product, create_stockrecord

import livepush
from livepush.testing import capture_events

Basket, Order = get_model("basket", "Basket"), get_model("order", "Order")


def an_order_is_placed_changed_and_deleted() -> None:
    ann = User.objects.create(username="ann", email="ann@example.com")
    with serving() as server, server.stream(f"user:{ann.pk}", **log_in(ann)) as told:
        order = create_order(user=ann)
        assert told() == ("order.created", {"id": order.pk, "status": "new"})
        order.set_status("paid")
        assert told() == ("order.updated", {"changed": ["status"], "id": order.pk, "status": "paid"})
        pk = order.pk
        order.delete()
        assert told() == ("order.deleted", {"id": pk, "status": "paid"})


def an_order_that_is_undone_is_not_told() -> None:
    with capture_events() as events, transaction.atomic():
        create_order()
        transaction.set_rollback(True)
    assert events == []
    assert not Order.objects.exists()


def three_models_called_line_have_groups_of_their_own() -> None:
    order = create_order(user=User.objects.create(username="bob"))
    line = order.lines.get()
    assert livepush.group_name(line) == f"order-line:{line.pk}"
    basket = Basket.objects.create()
    basket.strategy = order.basket.strategy
    product = create_product(num_in_stock=5, price=1)
    basket.add_product(product, 1)
    assert livepush.group_name(basket.lines.get()) == f"basket-line:{basket.lines.get().pk}"
    with capture_events() as events:
        line.quantity = 7
        line.save()
        other = basket.lines.get()
        other.quantity = 3
        other.save()
    assert [(sent.type, sent.groups) for sent in events] == [
        ("order-line.updated", (f"order-line:{line.pk}", f"order:{order.pk}"))
    ]


def only_its_customer_reads_an_order() -> None:
    cat, dan = User.objects.create(username="cat"), User.objects.create(username="dan")
    order = create_order(user=cat)
    with serving() as server:
        path = f"/livepush/sse/?group=order:{order.pk}"
        assert server.ask("GET", path, **log_in(dan))[0] == 403
        assert server.ask("GET", path)[0] == 403
        with server.stream(f"order:{order.pk}", **log_in(cat)) as told:
            order.set_status("paid")
            assert told()[1]["status"] == "paid"


def the_shop_itself_goes_on() -> None:
    product = create_product(num_in_stock=5, price=1)
    with serving() as server:
        assert server.ask("GET", "/catalogue/")[0] == 200
        status, body = server.ask("GET", product.get_absolute_url())
        assert status == 200, body
        assert product.title.encode() in body
        assert server.ask("GET", "/basket/")[0] == 200


def allocating_stock_is_told() -> None:
    """Oscar sends post_save itself, without update_fields, after an update that fires no signals."""

    class StockLive(livepush.ModelEvents):
        fields = ("num_in_stock", "num_allocated")

    livepush.register(get_model("partner", "StockRecord"))(StockLive)
    stock = create_stockrecord(num_in_stock=5)
    with capture_events() as events:
        stock.allocate(2)
    stock.refresh_from_db()
    assert stock.num_allocated == 2
    assert events.types() == ["stockrecord.updated"]
