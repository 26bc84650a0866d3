"""The desk of an airline as benchmarks of tool agents have them: fifteen methods over one database.

Arguments are nested models, unions of a model and a dict, lists of them, literals and optional fields; a rule of the
house that a call breaks is a `ValueError`.
"""

from datetime import date
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from tests.graphs.tools.service_desk import ServiceDesk

Cabin = Literal["basic_economy", "economy", "business"]


class Name(BaseModel):
    first_name: str
    last_name: str


class FlightInfo(BaseModel):
    """A flight of a reservation."""

    flight_number: str
    date: date


class Passenger(Name):
    dob: date


class Payment(BaseModel):
    payment_id: str
    amount: Annotated[float, Field(gt=0)]


class Flight(BaseModel):
    flight_number: str
    origin: str
    destination: str
    date: date
    prices: dict[Cabin, float]
    seats: dict[Cabin, int]


class Reservation(BaseModel):
    reservation_id: str
    user_id: str
    cabin: Cabin
    flights: list[FlightInfo]
    passengers: list[Passenger]
    payments: list[Payment]
    total_baggages: int = 0
    nonfree_baggages: int = 0
    status: Literal["active", "cancelled"] = "active"


class Traveller(BaseModel):
    user_id: str
    name: Name
    payment_methods: dict[str, float]
    saved_passengers: list[Passenger] = []
    reservations: list[str] = []


class AirlineDesk(ServiceDesk):
    """Flights, reservations and travellers."""

    READS = frozenset(
        {"get_user_details", "get_reservation_details", "search_direct_flight", "search_onestop_flight",
         "get_flight_status", "list_all_airports", "calculate"}
    )  # fmt: skip
    WRITES = frozenset(
        {"book_reservation", "cancel_reservation", "update_reservation_flights", "update_reservation_passengers",
         "update_reservation_baggages", "send_certificate", "add_saved_passenger", "transfer_to_human_agents"}
    )  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        day = date(2024, 5, 20)
        prices: dict[Cabin, float] = {"basic_economy": 80.0, "economy": 120.5, "business": 400.0}
        self.flights = [
            Flight(
                flight_number=number,
                origin=origin,
                destination=to,
                date=day,
                prices=prices,
                seats=dict.fromkeys(prices, 2),
            )
            for number, origin, to in (("HAT101", "SFO", "JFK"), ("HAT102", "SFO", "DEN"), ("HAT103", "DEN", "JFK"))
        ]
        mia = Passenger(first_name="Mia", last_name="Li", dob=date(1990, 4, 5))
        noah = Passenger(first_name="Noah", last_name="Li", dob=date(1988, 1, 2))
        self.users = {
            "mia_li_3668": Traveller(
                user_id="mia_li_3668",
                name=Name(first_name="Mia", last_name="Li"),
                payment_methods={"credit_card_4421486": 10_000.0, "certificate_4856383": 100.0},
                saved_passengers=[mia, noah],
                reservations=["NO6JO3"],
            )
        }
        self.reservations = {
            "NO6JO3": Reservation(
                reservation_id="NO6JO3",
                user_id="mia_li_3668",
                cabin="economy",
                flights=[FlightInfo(flight_number="HAT102", date=day)],
                passengers=[mia],
                payments=[Payment(payment_id="credit_card_4421486", amount=120.5)],
            )
        }

    def get_user_details(self, user_id: str) -> Traveller:
        """Get a traveller with payment methods, saved passengers and reservations.

        Args:
            user_id: Such as 'sara_doe_496'.
        """
        return self._user(user_id)

    def get_reservation_details(self, reservation_id: str) -> Reservation:
        """Get a reservation.

        Args:
            reservation_id: Such as '8JX2WO'.
        """
        return self._reservation(reservation_id)

    def search_direct_flight(self, origin: str, destination: str, date: date) -> list[Flight]:
        """Search direct flights between two airports on a day.

        Args:
            origin: Airport by its three letters.
            destination: Airport by its three letters.
            date: The day, such as '2024-01-01'.
        """
        return [one for one in self.flights if (one.origin, one.destination, one.date) == (origin, destination, date)]

    def search_onestop_flight(self, origin: str, destination: str, date: date) -> list[list[Flight]]:
        """Search flights with one stop between two airports on a day.

        Args:
            origin: Airport by its three letters.
            destination: Airport by its three letters.
            date: The day, such as '2024-01-01'.
        """
        first = [one for one in self.flights if one.origin == origin and one.date == date]
        return [
            [one, other] for one in first for other in self.search_direct_flight(one.destination, destination, date)
        ]

    def get_flight_status(self, flight_number: str, date: date) -> Literal["available", "unknown"]:
        """Get the status of a flight.

        Args:
            flight_number: Such as 'HAT001'.
            date: The day.
        """
        known = any((one.flight_number, one.date) == (flight_number, date) for one in self.flights)
        return "available" if known else "unknown"

    def list_all_airports(self) -> dict[str, str]:
        """List all airports with their cities."""
        return {"SFO": "San Francisco", "JFK": "New York", "DEN": "Denver"}

    def calculate(self, expression: str) -> str:
        """Calculate a sum.

        Args:
            expression: Numbers with '+' between them.
        """
        return str(round(sum(map(float, expression.split("+"))), 2))

    def book_reservation(
        self,
        user_id: str,
        cabin: Cabin,
        flights: list[FlightInfo | dict[str, str]],
        passengers: list[Passenger | dict[str, str]],
        payment_methods: list[Payment | dict[str, str | float]],
        total_baggages: int = 0,
        nonfree_baggages: int = 0,
        insurance: Literal["yes", "no"] = "no",
    ) -> Reservation:
        """Book a reservation; what is paid must be the price of all flights for all passengers.

        Args:
            user_id: Who books.
            cabin: The class of all flights.
            flights: The flights, each with its number and date.
            passengers: Who flies.
            payment_methods: What is paid by which method.
            total_baggages: Pieces of baggage.
            nonfree_baggages: Those of them that are paid for.
            insurance: Whether an insurance is bought.
        """
        user = self._user(user_id)
        legs = [FlightInfo.model_validate(one) for one in flights]
        people = [Passenger.model_validate(one) for one in passengers]
        paid = [Payment.model_validate(one) for one in payment_methods]
        price = sum(self._flight(leg).prices[cabin] for leg in legs) * len(people) + 50 * nonfree_baggages
        if abs(sum(one.amount for one in paid) - price) > 0.005:
            raise ValueError(f"The payments do not add up: the price is {price:.2f}.")
        for leg in legs:
            if self._flight(leg).seats[cabin] < len(people):
                raise ValueError(f"Not enough seats on flight {leg.flight_number}.")
        made = Reservation(
            reservation_id=f"HATH{len(self.reservations)}",
            user_id=user_id,
            cabin=cabin,
            flights=legs,
            passengers=people,
            payments=paid,
            total_baggages=total_baggages,
            nonfree_baggages=nonfree_baggages,
        )
        self.reservations[made.reservation_id] = made
        user.reservations.append(made.reservation_id)
        self.made.append("book_reservation")
        return made

    def cancel_reservation(self, reservation_id: str) -> Reservation:
        """Cancel a reservation and pay back what was paid.

        Args:
            reservation_id: Such as 'ZFA04Y'.
        """
        found = self._reservation(reservation_id)
        if found.status == "cancelled":
            raise ValueError("The reservation is cancelled already.")
        found.status = "cancelled"
        self.made.append("cancel_reservation")
        return found

    def update_reservation_flights(
        self, reservation_id: str, cabin: Cabin, flights: list[FlightInfo | dict[str, str]], payment_id: str
    ) -> Reservation:
        """Change all flights of a reservation.

        Args:
            reservation_id: The reservation.
            cabin: The class of all flights.
            flights: All flights of it, also those that stay.
            payment_id: By what the difference is paid.
        """
        found = self._reservation(reservation_id)
        if payment_id not in self._user(found.user_id).payment_methods:
            raise ValueError("There is no such payment method.")
        found.flights, found.cabin = [FlightInfo.model_validate(one) for one in flights], cabin
        self.made.append("update_reservation_flights")
        return found

    def update_reservation_passengers(
        self, reservation_id: str, passengers: list[Passenger | dict[str, str]]
    ) -> Reservation:
        """Change who flies; their number stays.

        Args:
            reservation_id: The reservation.
            passengers: All passengers.
        """
        found, people = self._reservation(reservation_id), [Passenger.model_validate(one) for one in passengers]
        if len(people) != len(found.passengers):
            raise ValueError("The number of passengers does not match.")
        found.passengers = people
        self.made.append("update_reservation_passengers")
        return found

    def update_reservation_baggages(
        self, reservation_id: str, total_baggages: int, nonfree_baggages: int, payment_id: str
    ) -> Reservation:
        """Change the baggage of a reservation.

        Args:
            reservation_id: The reservation.
            total_baggages: Pieces of baggage.
            nonfree_baggages: Those of them that are paid for.
            payment_id: By what it is paid.
        """
        found = self._reservation(reservation_id)
        found.total_baggages, found.nonfree_baggages = total_baggages, nonfree_baggages
        self.made.append("update_reservation_baggages")
        return found

    def send_certificate(self, user_id: str, amount: Annotated[int, Field(ge=1, le=1000)]) -> str:
        """Send a certificate to a traveller.

        Args:
            user_id: Who gets it.
            amount: Dollars.
        """
        methods = self._user(user_id).payment_methods
        methods[f"certificate_{len(methods)}"] = float(amount)
        self.made.append("send_certificate")
        return f"Certificate added to user {user_id} with amount {amount}."

    def add_saved_passenger(self, user_id: str, passenger: Passenger | dict[str, str]) -> list[Passenger]:
        """Save a passenger with a traveller.

        Args:
            user_id: The traveller.
            passenger: Whom to save.
        """
        self._user(user_id).saved_passengers.append(Passenger.model_validate(passenger))
        self.made.append("add_saved_passenger")
        return self._user(user_id).saved_passengers

    def transfer_to_human_agents(self, summary: str) -> str:
        """Hand the traveller over to a human.

        Args:
            summary: What the traveller wants.
        """
        self.made.append("transfer_to_human_agents")
        return "Transfer successful"

    def _user(self, user_id: str) -> Traveller:
        if user_id not in self.users:
            raise ValueError(f"User {user_id} not found")
        return self.users[user_id]

    def _reservation(self, reservation_id: str) -> Reservation:
        if reservation_id not in self.reservations:
            raise ValueError(f"Reservation {reservation_id} not found")
        return self.reservations[reservation_id]

    def _flight(self, leg: FlightInfo) -> Flight:
        for one in self.flights:
            if (one.flight_number, one.date) == (leg.flight_number, leg.date):
                return one
        raise ValueError(f"Flight {leg.flight_number} not found")
