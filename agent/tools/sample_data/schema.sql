CREATE TABLE categories (
    category_id INTEGER PRIMARY KEY,
    category_name VARCHAR NOT NULL UNIQUE,
    department VARCHAR NOT NULL
);
COMMENT ON TABLE categories IS 'Product categories, grouped into departments.';
COMMENT ON COLUMN categories.category_name IS 'Name of the category, such as Desks.';
COMMENT ON COLUMN categories.department IS 'The department that runs the category, such as Furniture.';

CREATE TABLE products (
    product_id INTEGER PRIMARY KEY,
    product_name VARCHAR NOT NULL UNIQUE,
    category_id INTEGER NOT NULL REFERENCES categories (category_id),
    brand VARCHAR NOT NULL,
    list_price DECIMAL(10, 2) NOT NULL,
    unit_cost DECIMAL(10, 2) NOT NULL,
    launched_on DATE NOT NULL,
    discontinued_on DATE
);
COMMENT ON TABLE products IS 'Everything the shop sells or has sold.';
COMMENT ON COLUMN products.list_price IS 'Latest list price of one unit in EUR, before discount.';
COMMENT ON COLUMN products.unit_cost IS 'What one unit costs the shop, in EUR.';
COMMENT ON COLUMN products.discontinued_on IS 'Last day on sale; empty while it is still sold.';

CREATE TABLE price_changes (
    product_id INTEGER NOT NULL REFERENCES products (product_id),
    valid_from DATE NOT NULL,
    list_price DECIMAL(10, 2) NOT NULL,
    PRIMARY KEY (product_id, valid_from)
);
COMMENT ON TABLE price_changes IS 'History of list prices: a row for each new price of a product.';
COMMENT ON COLUMN price_changes.valid_from IS 'First day on which the price holds.';
COMMENT ON COLUMN price_changes.list_price IS 'List price of one unit in EUR from that day on.';

CREATE TABLE customers (
    customer_id INTEGER PRIMARY KEY,
    customer_name VARCHAR NOT NULL UNIQUE,
    segment VARCHAR NOT NULL,
    email VARCHAR NOT NULL,
    city VARCHAR NOT NULL,
    country VARCHAR NOT NULL,
    region VARCHAR NOT NULL,
    joined_on DATE NOT NULL
);
COMMENT ON TABLE customers IS 'Persons and companies that have an account.';
COMMENT ON COLUMN customers.customer_name IS 'Name of the person or the company.';
COMMENT ON COLUMN customers.segment IS 'Kind of customer: Consumer is a person, the others are companies by size.';
COMMENT ON COLUMN customers.region IS 'Part of Europe that the country belongs to.';
COMMENT ON COLUMN customers.joined_on IS 'Day on which the account was opened.';

CREATE TABLE orders (
    order_id INTEGER PRIMARY KEY,
    customer_id INTEGER NOT NULL REFERENCES customers (customer_id),
    order_date DATE NOT NULL,
    channel VARCHAR NOT NULL,
    status VARCHAR NOT NULL,
    shipped_on DATE,
    shipping_fee DECIMAL(8, 2) NOT NULL
);
COMMENT ON TABLE orders IS 'Order headers. Cancelled orders are kept here but are no sales.';
COMMENT ON COLUMN orders.channel IS 'Where the order was placed.';
COMMENT ON COLUMN orders.status IS 'Open, Shipped (on its way), Delivered or Cancelled.';
COMMENT ON COLUMN orders.shipped_on IS 'Day it left the warehouse; empty if it has not.';
COMMENT ON COLUMN orders.shipping_fee IS 'Shipping charged in EUR; not part of revenue.';

CREATE TABLE order_lines (
    order_line_id INTEGER PRIMARY KEY,
    order_id INTEGER NOT NULL REFERENCES orders (order_id),
    product_id INTEGER NOT NULL REFERENCES products (product_id),
    quantity INTEGER NOT NULL,
    unit_price DECIMAL(10, 2) NOT NULL,
    discount DECIMAL(4, 2) NOT NULL
);
COMMENT ON TABLE order_lines IS 'Products within an order: a row for each product of each order.';
COMMENT ON COLUMN order_lines.quantity IS 'Units ordered.';
COMMENT ON COLUMN order_lines.unit_price IS 'List price of one unit in EUR on the day of the order.';
COMMENT ON COLUMN order_lines.discount IS 'Share taken off the price: 0.10 is 10 percent.';

CREATE TABLE payments (
    payment_id INTEGER PRIMARY KEY,
    order_id INTEGER NOT NULL REFERENCES orders (order_id),
    paid_on DATE NOT NULL,
    method VARCHAR NOT NULL,
    amount DECIMAL(12, 2) NOT NULL
);
COMMENT ON TABLE payments IS 'Money received for orders. An order may be paid in two parts, or not yet.';
COMMENT ON COLUMN payments.method IS 'How it was paid.';
COMMENT ON COLUMN payments.amount IS 'Amount received in EUR, shipping included.';

CREATE TABLE returns (
    return_id INTEGER PRIMARY KEY,
    order_line_id INTEGER NOT NULL REFERENCES order_lines (order_line_id),
    returned_on DATE NOT NULL,
    quantity INTEGER NOT NULL,
    reason VARCHAR NOT NULL,
    refund DECIMAL(12, 2) NOT NULL
);
COMMENT ON TABLE returns IS 'Goods sent back by customers: at most one row for each order line.';
COMMENT ON COLUMN returns.quantity IS 'Units sent back.';
COMMENT ON COLUMN returns.reason IS 'Reason the customer gave.';
COMMENT ON COLUMN returns.refund IS 'Amount paid back in EUR.';

CREATE VIEW sales AS
SELECT
    o.order_id,
    l.order_line_id,
    o.order_date,
    CAST(year(o.order_date) AS INTEGER) AS order_year,
    strftime(o.order_date, '%Y-%m') AS order_month,
    year(o.order_date) || '-Q' || quarter(o.order_date) AS order_quarter,
    c.customer_id,
    c.customer_name,
    c.segment,
    c.city,
    c.country,
    c.region,
    p.product_id,
    p.product_name,
    p.brand,
    g.category_name,
    g.department,
    o.channel,
    l.quantity,
    l.unit_price,
    l.discount,
    CAST(round(l.quantity * l.unit_price * (1 - l.discount), 2) AS DECIMAL(12, 2)) AS revenue,
    CAST(round(l.quantity * l.unit_price * (1 - l.discount), 2) - l.quantity * p.unit_cost AS DECIMAL(12, 2)) AS profit
FROM order_lines AS l
JOIN orders AS o ON o.order_id = l.order_id
JOIN customers AS c ON c.customer_id = o.customer_id
JOIN products AS p ON p.product_id = l.product_id
JOIN categories AS g ON g.category_id = p.category_id
WHERE o.status <> 'Cancelled';
COMMENT ON VIEW sales IS 'What was sold: a row for each order line with its customer, product and category. Cancelled orders are left out, returns are not subtracted.';
COMMENT ON COLUMN sales.order_month IS 'Month of the order as text, such as 2023-04.';
COMMENT ON COLUMN sales.order_quarter IS 'Quarter of the order as text, such as 2023-Q2.';
COMMENT ON COLUMN sales.customer_name IS 'Name of the person or the company.';
COMMENT ON COLUMN sales.segment IS 'Kind of customer.';
COMMENT ON COLUMN sales.quantity IS 'Units sold: SUM(quantity) is how much was purchased.';
COMMENT ON COLUMN sales.unit_price IS 'List price of one unit in EUR, before discount.';
COMMENT ON COLUMN sales.discount IS 'Share taken off the price: 0.10 is 10 percent.';
COMMENT ON COLUMN sales.revenue IS 'Revenue of the line in EUR after discount: SUM(revenue) is revenue.';
COMMENT ON COLUMN sales.profit IS 'Revenue less the cost of the goods, in EUR.';

CREATE VIEW returned_goods AS
SELECT
    r.return_id,
    r.returned_on,
    strftime(r.returned_on, '%Y-%m') AS return_month,
    r.reason,
    r.quantity AS returned_quantity,
    r.refund,
    s.order_id,
    s.order_date,
    s.customer_name,
    s.segment,
    s.country,
    s.region,
    s.product_name,
    s.brand,
    s.category_name,
    s.department
FROM returns AS r
JOIN sales AS s ON s.order_line_id = r.order_line_id;
COMMENT ON VIEW returned_goods IS 'What came back: a row for each return with its customer, product and reason.';
COMMENT ON COLUMN returned_goods.return_month IS 'Month of the return as text, such as 2023-04.';
COMMENT ON COLUMN returned_goods.returned_quantity IS 'Units sent back.';
COMMENT ON COLUMN returned_goods.refund IS 'Amount paid back in EUR.';

CREATE VIEW payments_received AS
SELECT
    y.payment_id,
    y.paid_on,
    strftime(y.paid_on, '%Y-%m') AS payment_month,
    y.method,
    y.amount,
    o.order_id,
    o.order_date,
    CAST(y.paid_on - o.order_date AS INTEGER) AS days_to_pay,
    c.customer_name,
    c.segment,
    c.city,
    c.country,
    c.region
FROM payments AS y
JOIN orders AS o ON o.order_id = y.order_id
JOIN customers AS c ON c.customer_id = o.customer_id;
COMMENT ON VIEW payments_received IS 'Money that came in: a row for each payment with its order and customer.';
COMMENT ON COLUMN payments_received.payment_month IS 'Month of the payment as text, such as 2023-04.';
COMMENT ON COLUMN payments_received.amount IS 'Amount received in EUR, shipping included.';
COMMENT ON COLUMN payments_received.days_to_pay IS 'Days from the order to the payment.';
