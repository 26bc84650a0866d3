"""Goals for the sample shop with the SQL that gives their right rows; none of it reaches the model."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Gold:
    """Rows that some task of the run must have given; further columns do no harm."""

    sql: str
    #: Whether the order of the rows belongs to the answer.
    ordered: bool = True


@dataclass(frozen=True)
class Goal:
    name: str
    text: str
    golds: tuple[Gold, ...]
    chart: bool = False
    #: The ending of the file that must have been saved.
    file: str | None = None


_TOP_CUSTOMERS = "SELECT customer_name, SUM(revenue) FROM sales GROUP BY 1 ORDER BY 2 DESC LIMIT 5"

HEADLINE = Goal(
    "headline",
    "Find the top 5 customers by revenue and their most purchased products, then create a chart",
    (
        Gold(_TOP_CUSTOMERS),
        Gold(
            f"""WITH top AS ({_TOP_CUSTOMERS})
            SELECT customer_name, product_name, SUM(quantity) AS units FROM sales
            WHERE customer_name IN (SELECT customer_name FROM top) GROUP BY 1, 2
            QUALIFY row_number() OVER (PARTITION BY customer_name ORDER BY units DESC) = 1""",
            ordered=False,
        ),
    ),
    chart=True,
)

#: Prompts and code were tried on these.
TUNED = (
    HEADLINE,
    Goal(
        "monthly_line",
        "How did monthly revenue develop in 2024? Draw a line chart.",
        (Gold("SELECT order_month, SUM(revenue) FROM sales WHERE order_year = 2024 GROUP BY 1 ORDER BY 1"),),
        chart=True,
    ),
    Goal(
        "empty",
        "Which customers from Ireland bought office chairs in March 2019?",
        (Gold("SELECT customer_name FROM sales WHERE false"),),
    ),
    Goal(
        "saved_file",
        "Save the 10 products with the highest revenue in 2024 as top_products.csv",
        (
            Gold(
                "SELECT product_name, SUM(revenue) FROM sales WHERE order_year = 2024 GROUP BY 1 ORDER BY 2 DESC LIMIT 10"  # noqa: E501
            ),
        ),
        file=".csv",
    ),
    Goal(
        "category_in_country",
        "What was the revenue of each category in Germany in 2023?",
        (
            Gold(
                "SELECT category_name, SUM(revenue) FROM sales WHERE country = 'Germany' AND order_year = 2023 GROUP BY 1",  # noqa: E501
                ordered=False,
            ),
        ),
    ),
    Goal(
        "count_customers",
        "How many different customers placed an order in 2024 in each segment?",
        (
            Gold(
                "SELECT segment, COUNT(DISTINCT customer_id) FROM sales WHERE order_year = 2024 GROUP BY 1",
                ordered=False,
            ),
        ),
    ),
    Goal(
        "quarters_compared",
        "Compare the revenue of each quarter of 2023 with the same quarter of 2024 in a chart",
        (
            Gold(
                "SELECT order_quarter, SUM(revenue) FROM sales WHERE order_year IN (2023, 2024) GROUP BY 1 ORDER BY 1",
                ordered=False,
            ),
        ),
        chart=True,
    ),
    Goal(
        "payment_method",
        "Which payment method brought in the most money?",
        (Gold("SELECT method, SUM(amount) FROM payments_received GROUP BY 1 ORDER BY 2 DESC LIMIT 1"),),
    ),
    Goal(
        "top_cities",
        "Find the 5 cities with the most orders and the customer with the highest revenue in each of them",
        (
            Gold("SELECT city, COUNT(DISTINCT order_id) FROM sales GROUP BY 1 ORDER BY 2 DESC LIMIT 5"),
            Gold(
                """WITH top AS (SELECT city, COUNT(DISTINCT order_id) n FROM sales GROUP BY 1 ORDER BY 2 DESC LIMIT 5)
                SELECT city, customer_name, SUM(revenue) AS total FROM sales WHERE city IN (SELECT city FROM top)
                GROUP BY 1, 2 QUALIFY row_number() OVER (PARTITION BY city ORDER BY total DESC) = 1""",
                ordered=False,
            ),
        ),
    ),
)

#: Nothing was tried on these: they were run and counted.
HELD_OUT = (
    Goal(
        "brands_and_products",
        "Find the 3 brands with the highest profit and the best-selling product by quantity of each, with a bar chart of"  # noqa: E501
        " the profit",
        (
            Gold("SELECT brand, SUM(profit) FROM sales GROUP BY 1 ORDER BY 2 DESC LIMIT 3"),
            Gold(
                """WITH top AS (SELECT brand, SUM(profit) FROM sales GROUP BY 1 ORDER BY 2 DESC LIMIT 3)
                SELECT brand, product_name, SUM(quantity) AS units FROM sales WHERE brand IN (SELECT brand FROM top)
                GROUP BY 1, 2 QUALIFY row_number() OVER (PARTITION BY brand ORDER BY units DESC) = 1""",
                ordered=False,
            ),
        ),
        chart=True,
    ),
    Goal(
        "returns_per_month",
        "Show the number of returns per month in 2024 as a line chart",
        (
            Gold(
                "SELECT return_month, COUNT(*) FROM returned_goods WHERE return_month LIKE '2024%' GROUP BY 1 ORDER BY 1"  # noqa: E501
            ),
        ),
        chart=True,
    ),
    Goal(
        "return_reasons",
        "What are the most common reasons for returns in the Furniture department?",
        (Gold("SELECT reason, COUNT(*) FROM returned_goods WHERE department = 'Furniture' GROUP BY 1", ordered=False),),
    ),
    Goal(
        "orders_by_channel",
        "How many orders came in through each channel in 2023?",
        (
            Gold(
                "SELECT channel, COUNT(DISTINCT order_id) FROM sales WHERE order_year = 2023 GROUP BY 1",
                ordered=False,
            ),
        ),
    ),
    Goal(
        "discount_by_segment",
        "What is the average discount of each customer segment?",
        (Gold("SELECT segment, AVG(discount) FROM sales GROUP BY 1", ordered=False),),
    ),
    Goal(
        "nothing_sold",
        "Which electronics did customers in Norway buy in 2018?",
        (Gold("SELECT product_name FROM sales WHERE false"),),
    ),
    Goal(
        "spanish_customers",
        "Save the names, cities and segments of customers from Spain who joined in 2023 as spanish_customers.csv",
        (
            Gold(
                "SELECT customer_name, city, segment FROM customers WHERE country = 'Spain' AND year(joined_on) = 2023",
                ordered=False,
            ),
        ),
        file=".csv",
    ),
    Goal(
        "regions_compared",
        "Compare revenue and profit of each region in 2022",
        (
            Gold(
                "SELECT region, SUM(revenue), SUM(profit) FROM sales WHERE order_year = 2022 GROUP BY 1",
                ordered=False,
            ),
        ),
    ),
    Goal(
        "days_to_pay",
        "In which 3 countries do customers take longest to pay on average? Draw a chart.",
        (Gold("SELECT country, AVG(days_to_pay) FROM payments_received GROUP BY 1 ORDER BY 2 DESC LIMIT 3"),),
        chart=True,
    ),
)
