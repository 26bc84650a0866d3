"""What mending makes of wrong SQL, judged by the rows it then gives."""

from collections import Counter

import duckdb
import pytest

from agent.tools.sql.data_source import open_data_source
from agent.tools.sql.query_database import QueryDatabase, database_tools
from tests.support.databases import library_duckdb, library_files

#: What the queries are written for; it has none of their words.
GOAL = "?"


@pytest.fixture(scope="module")
def shop_query(shop) -> QueryDatabase:
    return database_tools(shop)[1]


@pytest.fixture(scope="module")
def library_query(tmp_path_factory) -> QueryDatabase:
    return database_tools(open_data_source(library_duckdb(tmp_path_factory.mktemp("library"))))[1]


def assert_mended(query: QueryDatabase, *, wrong: str, right: str, params: dict | None = None) -> None:
    args = {"sql": wrong, **({"params": params} if params else {})}
    found = query.preflight(args, {}, GOAL)
    assert found.problems == ()
    assert found.notes
    gold = {"sql": right, **({"params": params} if params and "$" in right else {})}
    mended, wanted = query.invoke(found.args)["rows"], query.invoke(gold)["rows"]
    assert wanted, "the right query must give rows, or this test shows nothing"
    found_rows, gold_rows = ([tuple(row.values()) for row in rows] for rows in (mended, wanted))
    # Without an ORDER BY the order is the database's own, and another one from run to run.
    assert (found_rows == gold_rows) if "ORDER BY" in right else (Counter(found_rows) == Counter(gold_rows))


SHOP = {
    "a join left out": (
        "SELECT customer_name, SUM(quantity) AS n FROM order_lines GROUP BY customer_name ORDER BY n DESC, 1 LIMIT 5",
        (
            "SELECT customer_name, SUM(quantity) AS n FROM order_lines JOIN orders USING (order_id) "
            "JOIN customers USING (customer_id) GROUP BY 1 ORDER BY n DESC, 1 LIMIT 5"
        ),
    ),
    "a column asked of the wrong table": (
        (
            "SELECT c.customer_name, SUM(o.quantity * o.unit_price) AS r FROM customers c "
            "JOIN orders o ON c.customer_id = o.customer_id GROUP BY c.customer_name ORDER BY r DESC LIMIT 5"
        ),
        (
            "SELECT c.customer_name, SUM(l.quantity * l.unit_price) AS r FROM customers c JOIN orders o USING "
            "(customer_id) "
            "JOIN order_lines l USING (order_id) GROUP BY 1 ORDER BY r DESC LIMIT 5"
        ),
    ),
    "a join on a column that is not there": (
        (
            "SELECT p.product_name, SUM(l.quantity) AS n FROM products p JOIN order_lines l ON p.id = l.product_id "
            "GROUP BY p.product_name ORDER BY n DESC LIMIT 3"
        ),
        (
            "SELECT product_name, SUM(quantity) AS n FROM products JOIN order_lines USING (product_id) "
            "GROUP BY 1 ORDER BY n DESC LIMIT 3"
        ),
    ),
    "a join that skips a table": (
        (
            "SELECT c.customer_name, SUM(l.quantity) AS n FROM customers c JOIN order_lines l "
            "ON c.customer_id = l.customer_id GROUP BY c.customer_name ORDER BY n DESC, 1 LIMIT 5"
        ),
        (
            "SELECT customer_name, SUM(quantity) AS n FROM order_lines JOIN orders USING (order_id) "
            "JOIN customers USING (customer_id) GROUP BY 1 ORDER BY n DESC, 1 LIMIT 5"
        ),
    ),
    "tables named before the dot but not in FROM": (
        (
            "SELECT products.product_name, SUM(order_lines.quantity) AS n FROM orders "
            "WHERE customers.country = 'germany' GROUP BY products.product_name ORDER BY n DESC LIMIT 3"
        ),
        (
            "SELECT product_name, SUM(quantity) AS n FROM order_lines JOIN orders USING (order_id) JOIN customers "
            "USING (customer_id) JOIN products USING (product_id) WHERE country = 'Germany' GROUP BY 1 ORDER BY "
            "n DESC LIMIT 3"
        ),
    ),
    "columns that only a view has": (
        (
            "SELECT c.customer_name, SUM(o.revenue) AS r FROM customers c JOIN orders o ON o.customer_id = "
            "c.customer_id "
            "GROUP BY 1 ORDER BY r DESC LIMIT 5"
        ),
        "SELECT customer_name, SUM(revenue) AS r FROM sales GROUP BY 1 ORDER BY r DESC LIMIT 5",
    ),
    "an ungrouped column, and an order by what was totalled": (
        (
            "SELECT customer_name, country, SUM(revenue) AS r FROM sales GROUP BY customer_name ORDER BY revenue "
            "DESC LIMIT 4"
        ),
        "SELECT customer_name, country, SUM(revenue) AS r FROM sales GROUP BY ALL ORDER BY r DESC LIMIT 4",
    ),
    "no GROUP BY at all": (
        "SELECT region, SUM(revenue) AS r FROM sales ORDER BY r DESC",
        "SELECT region, SUM(revenue) AS r FROM sales GROUP BY 1 ORDER BY r DESC",
    ),
    "a condition on a total in WHERE": (
        (
            "SELECT category_name, SUM(revenue) AS r FROM sales WHERE SUM(revenue) > 2000000 AND order_year >= 2022 "
            "GROUP BY category_name ORDER BY r DESC"
        ),
        (
            "SELECT category_name, SUM(revenue) AS r FROM sales WHERE order_year >= 2022 GROUP BY 1 "
            "HAVING SUM(revenue) > 2000000 ORDER BY r DESC"
        ),
    ),
    "a condition on the name of a total in WHERE": (
        "SELECT category_name, SUM(revenue) AS r FROM sales WHERE r > 2000000 GROUP BY category_name ORDER BY r DESC",
        "SELECT category_name, SUM(revenue) AS r FROM sales GROUP BY 1 HAVING r > 2000000 ORDER BY r DESC",
    ),
    "a table and a column almost right": (
        "SELECT customer, SUM(Revenue) AS r FROM Sale GROUP BY customer ORDER BY r DESC LIMIT 3",
        "SELECT customer_name, SUM(revenue) AS r FROM sales GROUP BY 1 ORDER BY r DESC LIMIT 3",
    ),
    "another way to write a column": (
        "SELECT OrderMonth, SUM(revenue) AS r FROM sales GROUP BY OrderMonth ORDER BY OrderMonth LIMIT 4",
        "SELECT order_month, SUM(revenue) AS r FROM sales GROUP BY 1 ORDER BY 1 LIMIT 4",
    ),
    "values in another case and other spaces": (
        (
            "SELECT COUNT(*) AS n FROM sales WHERE segment = 'small_business' AND category_name IN ('office "
            "chairs', 'DESKS') "
            "AND country <> 'germany'"
        ),
        (
            "SELECT COUNT(*) AS n FROM sales WHERE segment = 'Small Business' AND category_name IN ('Office "
            "Chairs', 'Desks') "
            "AND country <> 'Germany'"
        ),
    ),
    "a value in a subquery": (
        (
            "SELECT COUNT(*) AS n FROM customers WHERE customer_id IN (SELECT customer_id FROM orders WHERE channel "
            "= 'app')"
        ),
        (
            "SELECT COUNT(*) AS n FROM customers WHERE customer_id IN (SELECT customer_id FROM orders WHERE channel "
            "= 'App')"
        ),
    ),
    "a join missing inside EXISTS": (
        (
            "SELECT COUNT(*) AS n FROM customers c WHERE EXISTS (SELECT 1 FROM orders o "
            "WHERE o.customer_id = c.customer_id AND o.category_name = 'Desks')"
        ),
        (
            "SELECT COUNT(DISTINCT customer_id) AS n FROM orders JOIN order_lines USING (order_id) JOIN products "
            "USING (product_id) JOIN categories USING (category_id) WHERE category_name = 'Desks'"
        ),
    ),
    "a join missing inside WITH": (
        (
            "WITH t AS (SELECT category_name, SUM(quantity) AS n FROM order_lines GROUP BY category_name) "
            "SELECT category_name, n FROM t ORDER BY n DESC LIMIT 2"
        ),
        (
            "SELECT category_name, SUM(quantity) AS n FROM order_lines JOIN products USING (product_id) JOIN "
            "categories "
            "USING (category_id) GROUP BY 1 ORDER BY 2 DESC LIMIT 2"
        ),
    ),
    "a view and a table joined on a misspelt key": (
        (
            "SELECT c.segment, SUM(s.revenue) AS r FROM sales s JOIN customers c ON s.customer = c.cust_id "
            "GROUP BY c.segment ORDER BY r"
        ),
        "SELECT segment, SUM(revenue) AS r FROM sales GROUP BY 1 ORDER BY r",
    ),
}
LIBRARY = {
    "a join left out": (
        "SELECT member_name, SUM(days) AS n FROM loans GROUP BY member_name ORDER BY n",
        "SELECT member_name, SUM(days) AS n FROM loans JOIN members USING (member_id) GROUP BY 1 ORDER BY n",
    ),
    "two joins left out": (
        "SELECT a.name, COUNT(*) AS n FROM loans l GROUP BY a.name ORDER BY n DESC, 1",
        (
            "SELECT name, COUNT(*) AS n FROM loans JOIN books USING (book_id) JOIN authors USING (author_id) "
            "GROUP BY 1 ORDER BY n DESC, 1"
        ),
    ),
    "a name that says less": (
        (
            "SELECT m.name, SUM(l.days) AS n FROM members m JOIN loans l ON l.member_id = m.member_id GROUP BY "
            "m.name "
            "ORDER BY n"
        ),
        "SELECT member_name, SUM(days) AS n FROM loans JOIN members USING (member_id) GROUP BY 1 ORDER BY n",
    ),
    "a key called id": (
        "SELECT b.title FROM loans l JOIN books b ON l.book = b.id WHERE l.days > 20 ORDER BY b.title",
        "SELECT title FROM loans JOIN books USING (book_id) WHERE days > 20 ORDER BY title",
    ),
    "tables in the singular": (
        "SELECT b.title, a.country FROM book b JOIN author a ON a.author_id = b.author_id ORDER BY b.title",
        "SELECT title, country FROM books JOIN authors USING (author_id) ORDER BY title",
    ),
    "a value of another table": (
        "SELECT title FROM books WHERE country = 'poland' ORDER BY title",
        "SELECT title FROM books JOIN authors USING (author_id) WHERE country = 'Poland' ORDER BY title",
    ),
    "an ambiguous key": (
        (
            "SELECT member_id, COUNT(*) AS n FROM loans JOIN members ON loans.member_id = members.member_id "
            "GROUP BY member_id ORDER BY n, 1"
        ),
        "SELECT member_id, COUNT(*) AS n FROM loans GROUP BY 1 ORDER BY n, 1",
    ),
    "a slip of the pen": (
        "SELECT titel, genre FROM books WHERE genre = 'science_fiction' ORDER BY titel",
        "SELECT title, genre FROM books WHERE genre = 'Science Fiction' ORDER BY title",
    ),
}


@pytest.mark.parametrize("name", SHOP)
def test_in_the_shop(shop_query, name):
    wrong, right = SHOP[name]
    assert_mended(shop_query, wrong=wrong, right=right)


@pytest.mark.parametrize("name", LIBRARY)
def test_in_the_library(library_query, name):
    wrong, right = LIBRARY[name]
    assert_mended(library_query, wrong=wrong, right=right)


@pytest.mark.parametrize("name", ["a join left out", "a value of another table", "two joins left out"])
def test_files_have_no_keys_but_names_that_tell(tmp_path, name):
    query = database_tools(open_data_source(library_files(tmp_path, suffix="csv")))[1]
    wrong, right = LIBRARY[name]
    assert_mended(query, wrong=wrong, right=right)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        (
            "SELECT COUNT(*) AS n FROM books WHERE genre IN ($genres)",
            "SELECT COUNT(*) AS n FROM books WHERE genre IN (SELECT unnest($genres))",
        ),
        (
            "SELECT COUNT(*) AS n FROM books WHERE genre = $genres",
            "SELECT COUNT(*) AS n FROM books WHERE genre IN (SELECT unnest($genres))",
        ),
        (
            "SELECT COUNT(*) AS n FROM books WHERE genre <> $genres",
            "SELECT COUNT(*) AS n FROM books WHERE genre NOT IN (SELECT unnest($genres))",
        ),
    ],
)
def test_a_list_is_compared_as_a_list(library_query, wrong, right):
    assert_mended(library_query, wrong=wrong, right=right, params={"genres": ["Novel", "Short Stories"]})


def test_texts_in_a_list_are_dates_where_the_column_is(library_query):
    assert_mended(
        library_query,
        wrong="SELECT loan_id FROM loans WHERE lent_on IN (SELECT unnest($on)) ORDER BY 1",
        right="SELECT loan_id FROM loans WHERE lent_on IN (DATE '2024-02-01', DATE '2024-03-02') ORDER BY 1",
        params={"on": ["2024-02-01", "2024-03-02"]},
    )


def test_values_in_parameters_are_mended_too(library_query):
    found = library_query.preflight(
        {"sql": "SELECT 1 AS x FROM books WHERE genre IN (SELECT unnest($g))", "params": {"g": ["novel", "Poetry"]}},
        {},
        GOAL,
    )
    assert found.args["params"] == {"g": ["Novel", "Poetry"]}


SOUND = [
    "SELECT member_id, COUNT(*) AS days FROM loans GROUP BY member_id ORDER BY days",
    "SELECT COUNT(*) AS n FROM books WHERE genre = 'Novel' UNION ALL SELECT COUNT(*) FROM books WHERE genre = 'Poetry'",
    "SELECT title FROM books WHERE title ~ 'S.*' AND genre = 'Novel'",
    "SELECT name FROM authors WHERE name = 'Poland'",
    "SELECT name FROM authors WHERE country = 'Polend'",
    "SELECT title FROM books WHERE genre = 'Novels'",
    "SELECT title FROM books WHERE genre = 'Poetry'",
    "SELECT name FROM authors WHERE country = 'Niger'",
    "SELECT title FROM books WHERE title ILIKE '%solaris%'  ",
    "select   title from books -- as it is",
    "SELECT title AS days FROM books ORDER BY days",
    "SELECT b.* FROM books b, authors a",
    "WITH t AS (SELECT * FROM loans) SELECT anything.days FROM t AS anything",
    "SELECT days + 1 AS more, more * 2 AS most FROM loans WHERE more > 3",
    "SELECT m.plan, (SELECT max(days) FROM loans WHERE loans.member_id = m.member_id) AS longest FROM members m",
    "FROM loans SELECT sum(days) AS n",
    "SELECT genre, count(*) AS n FROM books GROUP BY ALL HAVING n > 1",
    "SELECT x FROM range(3) AS r(x)",
    "SELECT count(*) AS member_id, count(lent_on) AS lent_on FROM loans",
    "SELECT count(*) AS days FROM loans JOIN members USING (member_id)",
    "SELECT count(DISTINCT days) AS days FROM loans",
    "SELECT count(*) FROM books WHERE genre = 'Novel' UNION SELECT count(*) FROM authors WHERE country = 'Poland'",
    "SELECT title FROM books WHERE genre = 'Novel' UNION SELECT title FROM books WHERE genre = 'Short Stories'",
    "SELECT count(*) FROM books WHERE genre = 'Novel' UNION ALL SELECT count(*) FROM books WHERE genre = 'Novel'",
]


@pytest.mark.parametrize("sql", SOUND)
def test_what_binds_and_names_what_there_is_stays_letter_by_letter(library_query, sql):
    found = library_query.preflight({"sql": sql}, {}, GOAL)
    assert (found.problems, found.args) == ((), {"sql": sql})


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT colour FROM books",
        "SELECT x.title FROM loans l JOIN nothing n ON n.a = l.b",
        "SELECT days, member_id FROM loans GROUP BY member_id",
        "SELECT title FROM books JOIN members ON books.x = members.y JOIN zzz ON true",
    ],
)
def test_what_cannot_be_told_comes_back_with_the_engines_word(library_query, sql):
    found = library_query.preflight({"sql": sql}, {}, GOAL)
    assert found.problems
    assert found.args is None


def test_two_ways_between_tables_are_no_way(tmp_path):
    file = tmp_path / "post.duckdb"
    with duckdb.connect(str(file)) as database:
        database.execute("CREATE TABLE places (place_id INTEGER PRIMARY KEY, town VARCHAR)")
        database.execute(
            "CREATE TABLE parcels (parcel_id INTEGER, from_id INTEGER REFERENCES places (place_id), "
            "to_id INTEGER REFERENCES places (place_id))"
        )
    query = database_tools(open_data_source(file))[1]
    found = query.preflight({"sql": "SELECT town, count(*) AS n FROM parcels GROUP BY town"}, {}, GOAL)
    assert "'town' is a column of places." in found.problems
