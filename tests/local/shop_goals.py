"""Goals for the sample shop on which prompts and code were tried; those of `tests/evals` are untried."""

from tests.evals.sets.goal import Goal, Gold

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
