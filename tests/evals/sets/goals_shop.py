"""Goals over the sample shop; prompts and code are tried on their work half only."""

from tests.evals.sets.goal import Goal, Gold

SHOP = (
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
    Goal(
        "shop_open_orders",
        "How many orders have each status?",
        (Gold("SELECT status, COUNT(*) FROM orders GROUP BY 1", ordered=False),),
    ),
    Goal(
        "shop_expensive_products",
        "Which 5 products that are still sold have the highest list price?",
        (
            Gold(
                """SELECT product_name FROM products WHERE discontinued_on IS NULL
                ORDER BY list_price DESC LIMIT 5"""
            ),
        ),
    ),
    Goal(
        "shop_refunds_by_reason",
        "How much money was refunded for each reason in 2023?",
        (
            Gold(
                "SELECT reason, SUM(refund) FROM returned_goods WHERE year(returned_on) = 2023 GROUP BY 1",
                ordered=False,
            ),
        ),
    ),
    Goal(
        "shop_best_month",
        "Which month of 2022 had the highest revenue?",
        (
            Gold(
                """SELECT order_month FROM sales WHERE order_year = 2022
                GROUP BY 1 ORDER BY SUM(revenue) DESC LIMIT 1"""
            ),
        ),
    ),
    Goal(
        "shop_categories_and_customers",
        "Find the 3 categories with the most units sold in 2024 and the customer who bought the most units of each",
        (
            Gold(
                """SELECT category_name FROM sales WHERE order_year = 2024
                GROUP BY 1 ORDER BY SUM(quantity) DESC LIMIT 3"""
            ),
            Gold(
                """WITH top AS (SELECT category_name FROM sales WHERE order_year = 2024
                GROUP BY 1 ORDER BY SUM(quantity) DESC LIMIT 3)
                SELECT category_name, customer_name FROM sales
                WHERE order_year = 2024 AND category_name IN (SELECT category_name FROM top) GROUP BY 1, 2
                QUALIFY row_number() OVER (PARTITION BY category_name ORDER BY SUM(quantity) DESC) = 1""",
                ordered=False,
            ),
        ),
    ),
    Goal(
        "shop_shipping_fees",
        "What is the average shipping fee of the orders of each channel?",
        (Gold("SELECT channel, AVG(shipping_fee) FROM orders GROUP BY 1", ordered=False),),
    ),
    Goal(
        "shop_new_customers",
        "How many customers joined in each year? Draw a bar chart.",
        (Gold("SELECT year(joined_on), COUNT(*) FROM customers GROUP BY 1", ordered=False),),
        chart=True,
    ),
    Goal(
        "shop_save_discontinued",
        "Save the names and brands of all products that have been discontinued as discontinued.csv",
        (
            Gold(
                "SELECT product_name, brand FROM products WHERE discontinued_on IS NOT NULL",
                ordered=False,
            ),
        ),
        file=".csv",
    ),
)
