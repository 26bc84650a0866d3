"""The desk of a shop as benchmarks of tool agents have them: fifteen methods over users, orders and products."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from tests.graphs.tools.service_desk import ServiceDesk

Status = Literal[
    "pending", "pending (item modified)", "delivered", "cancelled", "exchange requested", "return requested"
]
Ids = Annotated[list[str], Field(min_length=1)]


class Address(BaseModel):
    address1: str
    address2: str = ""
    city: str
    zip: Annotated[str, Field(pattern=r"^\d{5}$")]


class Variant(BaseModel):
    item_id: str
    options: dict[str, str]
    available: bool
    price: float


class Product(BaseModel):
    product_id: str
    name: str
    variants: dict[str, Variant]


class Item(BaseModel):
    name: str
    product_id: str
    item_id: str
    price: float
    options: dict[str, str] = {}


class Order(BaseModel):
    order_id: str
    user_id: str
    address: Address
    items: list[Item]
    status: Status
    paid_by: str
    new_items: list[str] | None = None


class User(BaseModel):
    user_id: str
    first_name: str
    last_name: str
    email: str
    address: Address
    payment_methods: dict[str, float | None]
    orders: list[str]


class RetailDesk(ServiceDesk):
    """Users with their orders, and products with variants."""

    READS = frozenset(
        {"find_user_id_by_email", "find_user_id_by_name_zip", "get_user_details", "get_order_details",
         "get_product_details", "list_all_product_types", "calculate"}
    )  # fmt: skip
    WRITES = frozenset(
        {"cancel_pending_order", "modify_pending_order_items", "modify_pending_order_payment",
         "modify_pending_order_address", "modify_user_address", "exchange_delivered_order_items",
         "return_delivered_order_items", "transfer_to_human_agents"}
    )  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        home = Address(address1="10 Oak St", city="Austin", zip="78701")
        self.products = {
            "p1": _product("p1", "Keyboard", {"k-red": 120.0, "k-blue": 140.0}),
            "p2": _product("p2", "Lamp", {"l-small": 20.0, "l-large": 45.5}),
        }
        self.users = {
            "yusuf_rossi_9620": User(
                user_id="yusuf_rossi_9620",
                first_name="Yusuf",
                last_name="Rossi",
                email="yusuf@example.com",
                address=home,
                payment_methods={"credit_card_9513926": None, "gift_card_1": 30.0},
                orders=["#W1", "#W2", "#W3"],
            )
        }
        self.orders = {
            "#W1": self._order("#W1", "pending", home, "k-red"),
            "#W2": self._order("#W2", "delivered", home, "l-small", "k-blue"),
            "#W3": self._order("#W3", "pending", home, "l-large"),
        }

    def find_user_id_by_email(self, email: str) -> str:
        """Find a user by email.

        Args:
            email: Such as 'a@example.com'.
        """
        return next(user.user_id for user in self.users.values() if user.email == email)

    def find_user_id_by_name_zip(self, first_name: str, last_name: str, zip: str) -> str:  # noqa: A002 - as such desks call it
        """Find a user by name and zip code.

        Args:
            first_name: First name.
            last_name: Last name.
            zip: Five digits.
        """
        for user in self.users.values():
            if (user.first_name, user.last_name, user.address.zip) == (first_name, last_name, zip):
                return user.user_id
        raise ValueError("User not found")

    def get_user_details(self, user_id: str) -> User:
        """Get a user with address, payment methods and orders.

        Args:
            user_id: Such as 'sara_doe_496'.
        """
        return self.users[user_id]

    def get_order_details(self, order_id: str) -> Order:
        """Get an order with its items.

        Args:
            order_id: Such as '#W0000000'; the '#' belongs to it.
        """
        return self._get(order_id)

    def get_product_details(self, product_id: str) -> Product:
        """Get a product with its variants.

        Args:
            product_id: The product, not the item.
        """
        return self.products[product_id]

    def list_all_product_types(self) -> dict[str, str]:
        """List the names of all products with their ids."""
        return {product.name: product.product_id for product in self.products.values()}

    def calculate(self, expression: str) -> str:
        """Calculate a sum.

        Args:
            expression: Numbers with '+' between them.
        """
        return str(round(sum(map(float, expression.split("+"))), 2))

    def cancel_pending_order(self, order_id: str, reason: Literal["no longer needed", "ordered by mistake"]) -> Order:
        """Cancel a pending order.

        Args:
            order_id: The order.
            reason: Why.
        """
        order = self._get(order_id, status="pending")
        order.status = "cancelled"
        return self._note("cancel_pending_order", order)

    def modify_pending_order_items(
        self, order_id: str, item_ids: Ids, new_item_ids: Ids, payment_method_id: str
    ) -> Order:
        """Exchange items of a pending order for other variants of the same products; once for an order.

        Args:
            order_id: The order.
            item_ids: The items to be exchanged.
            new_item_ids: For each of them, in this order, the new one.
            payment_method_id: By what the difference is paid.
        """
        order = self._get(order_id, status="pending")
        pairs = self._match(order, item_ids, new_item_ids)
        for item, new in pairs:
            item.item_id, item.price, item.options = new.item_id, new.price, new.options
        order.status, order.paid_by = "pending (item modified)", payment_method_id
        return self._note("modify_pending_order_items", order)

    def modify_pending_order_payment(self, order_id: str, payment_method_id: str) -> Order:
        """Have a pending order paid by another method.

        Args:
            order_id: The order.
            payment_method_id: The new one.
        """
        order = self._get(order_id, status="pending")
        if order.paid_by == payment_method_id:
            raise ValueError("The new payment method must be different from the current one")
        order.paid_by = payment_method_id
        return self._note("modify_pending_order_payment", order)

    def modify_pending_order_address(self, order_id: str, address: Address | dict[str, str]) -> Order:
        """Have a pending order sent elsewhere.

        Args:
            order_id: The order.
            address: Where to.
        """
        order = self._get(order_id, status="pending")
        order.address = Address.model_validate(address)
        return self._note("modify_pending_order_address", order)

    def modify_user_address(self, user_id: str, address: Address) -> User:
        """Change the address of a user.

        Args:
            user_id: The user.
            address: The new one.
        """
        self.users[user_id].address = address
        self.made.append("modify_user_address")
        return self.users[user_id]

    def exchange_delivered_order_items(
        self, order_id: str, item_ids: Ids, new_item_ids: Ids, payment_method_id: str
    ) -> Order:
        """Exchange items of a delivered order for other variants of the same products.

        Args:
            order_id: The order.
            item_ids: The items to be exchanged.
            new_item_ids: For each of them, in this order, the new one.
            payment_method_id: By what the difference is paid.
        """
        order = self._get(order_id, status="delivered")
        order.new_items = [new.item_id for _, new in self._match(order, item_ids, new_item_ids)]
        order.status, order.paid_by = "exchange requested", payment_method_id
        return self._note("exchange_delivered_order_items", order)

    def return_delivered_order_items(self, order_id: str, item_ids: Ids, payment_method_id: str) -> Order:
        """Take items of a delivered order back.

        Args:
            order_id: The order.
            item_ids: The items.
            payment_method_id: By what is paid back: the way in which it was paid, or a gift card.
        """
        order = self._get(order_id, status="delivered")
        order.status, order.paid_by = "return requested", payment_method_id
        return self._note("return_delivered_order_items", order)

    def transfer_to_human_agents(self, summary: str) -> str:
        """Hand the user over to a human.

        Args:
            summary: What the user wants.
        """
        self.made.append("transfer_to_human_agents")
        return "Transfer successful"

    def _order(self, order_id: str, status: Status, address: Address, *items: str) -> Order:
        found = [
            (product, product.variants[item])
            for item in items
            for product in self.products.values()
            if item in product.variants
        ]
        return Order(
            order_id=order_id,
            user_id="yusuf_rossi_9620",
            address=address,
            items=[
                Item(name=one.name, product_id=one.product_id, item_id=of.item_id, price=of.price) for one, of in found
            ],
            status=status,
            paid_by="credit_card_9513926",
        )

    def _get(self, order_id: str, *, status: Status | None = None) -> Order:
        order = self.orders.get(order_id)
        if order is None:
            raise ValueError("Order not found")
        if status is not None and order.status != status:
            raise ValueError(f"The order is not {status}: it is {order.status}")
        return order

    def _match(self, order: Order, old: list[str], new: list[str]) -> list[tuple[Item, Variant]]:
        if len(old) != len(new):
            raise ValueError("The number of items to be exchanged should match")
        items = {item.item_id: item for item in order.items}
        pairs = []
        for item_id, new_id in zip(old, new, strict=True):
            variants = self.products[items[item_id].product_id].variants
            if new_id not in variants:
                raise ValueError(f"New item {new_id} not found or available")
            pairs.append((items[item_id], variants[new_id]))
        return pairs

    def _note(self, name: str, order: Order) -> Order:
        self.made.append(name)
        return order


def _product(product_id: str, name: str, prices: dict[str, float]) -> Product:
    variants = {
        item: Variant(item_id=item, options={"kind": item.partition("-")[2]}, available=True, price=price)
        for item, price in prices.items()
    }
    return Product(product_id=product_id, name=name, variants=variants)
