"""A forum as a folder of CSV files: users that three tables refer to, each by another name, and goals over it."""

from datetime import datetime, timedelta
from pathlib import Path
from random import Random

from tests.evals.sets.goal import Goal, Gold
from tests.evals.sets.schemas.music import write_csv

_HANDLES = (
    "amber_fox",
    "bytewise",
    "coralreef",
    "dustyowl",
    "elmstreet",
    "ferngully",
    "gearhead",
    "hexagon",
    "inkwell",
)
_MORE = ("jaybird", "kelpie", "lumen", "mossy", "nimbus", "oxbow", "pixelate", "quillon", "rustbelt", "sable", "tundra")
_COUNTRIES = ("Kenya", "Spain", "India", "Chile")
_SECTIONS = ("Help", "Showcase", "Ideas", "Off-topic")
_ABOUT = ("solder", "antennas", "batteries", "lenses", "gears", "looms", "kilns", "kites", "boats", "bees")
_BEGIN = datetime(2022, 5, 1, 7)  # noqa: DTZ001 - the columns have no time zone
_WAYS = ("First steps with", "Trouble with", "Best", "Old")


def build_forum(folder: Path) -> Path:
    """Write the files into `folder`, the same rows each time, and return it."""
    rng = Random(43)  # noqa: S311 - sample data, no secret
    users = [
        (n, handle, rng.choice(_COUNTRIES), (_BEGIN + timedelta(days=rng.randrange(200))).date())
        for n, handle in enumerate((*_HANDLES, *_MORE), 1)
    ]
    topics = []
    for number, title in enumerate((f"{way} {about}" for way in _WAYS for about in _ABOUT), 1):
        opened = _BEGIN + timedelta(hours=rng.randrange(20_000))
        closed = opened + timedelta(hours=rng.randrange(40, 900)) if rng.random() < 0.6 else None
        section = rng.choices(_SECTIONS, (6, 3, 4, 2))[0]
        topics.append((number, title, section, 1 + int(18 * rng.random() ** 1.3), opened, closed))
    posts = []
    for number in range(1, 901):
        topic = topics[int(40 * rng.random() ** 1.5)]
        posted = topic[4] + timedelta(minutes=rng.randrange(60_000))
        posts.append((number, topic[0], 1 + int(18 * rng.random() ** 1.4), posted, rng.randrange(3, 900)))
    votes = [
        (n, 1 + int(900 * rng.random() ** 1.2), 1 + rng.randrange(20), rng.choices(("up", "down"), (4, 1))[0])
        for n in range(1, 1_301)
    ]
    folder.mkdir(exist_ok=True)
    write_csv(folder / "users.csv", ("user_id", "handle", "country", "joined"), users)
    write_csv(folder / "topics.csv", ("topic_id", "title", "section", "opened_by", "opened_at", "closed_at"), topics)
    write_csv(folder / "posts.csv", ("post_id", "topic_id", "user_id", "posted_at", "words"), posts)
    write_csv(folder / "votes.csv", ("vote_id", "post_id", "user_id", "direction"), votes)
    return folder


FORUM = (
    Goal(
        "forum_top_users",
        "Which 3 users wrote the most posts, and how many?",
        (Gold("SELECT handle, COUNT(*) FROM posts JOIN users USING (user_id) GROUP BY 1 ORDER BY 2 DESC LIMIT 3"),),
    ),
    Goal(
        "forum_posts_per_section",
        "How many posts does each section have?",
        (Gold("SELECT section, COUNT(*) FROM posts JOIN topics USING (topic_id) GROUP BY 1", ordered=False),),
    ),
    Goal(
        "forum_long_topics",
        "Which topics have more than 40 posts?",
        (Gold("SELECT title FROM posts JOIN topics USING (topic_id) GROUP BY 1 HAVING COUNT(*) > 40", ordered=False),),
    ),
    Goal(
        "forum_open_topics",
        "How many topics of each section are still open?",
        (Gold("SELECT section, COUNT(*) FROM topics WHERE closed_at IS NULL GROUP BY 1", ordered=False),),
    ),
    Goal(
        "forum_users_2024",
        "How many users wrote a post in 2024?",
        (Gold("SELECT COUNT(DISTINCT user_id) FROM posts WHERE year(posted_at) = 2024"),),
    ),
    Goal(
        "forum_not_help",
        "How many topics are not in the Help section?",
        (Gold("SELECT COUNT(*) FROM topics WHERE section <> 'Help'"),),
    ),
    Goal(
        "forum_down_percentage",
        "What percentage of the votes is down?",
        (Gold("SELECT 100.0 * AVG((direction = 'down')::INT) FROM votes"),),
    ),
    Goal(
        "forum_words_per_country",
        "How many words did the users of each country write?",
        (Gold("SELECT country, SUM(words) FROM posts JOIN users USING (user_id) GROUP BY 1", ordered=False),),
    ),
    Goal(
        "forum_voted_topics",
        "Which 3 topics got the most votes on their posts?",
        (
            Gold(
                """SELECT title FROM votes JOIN posts USING (post_id) JOIN topics USING (topic_id)
                GROUP BY 1 ORDER BY COUNT(*) DESC LIMIT 3"""
            ),
        ),
    ),
    Goal(
        "forum_longest_post",
        "How many words has the longest post of each section?",
        (Gold("SELECT section, MAX(words) FROM posts JOIN topics USING (topic_id) GROUP BY 1", ordered=False),),
    ),
    Goal(
        "forum_silent_users",
        "Which users have never written a post?",
        (Gold("SELECT handle FROM users WHERE user_id NOT IN (SELECT user_id FROM posts)", ordered=False),),
    ),
    Goal(
        "forum_opened_topics",
        "Which user opened the most topics, and how many?",
        (
            Gold(
                """SELECT handle, COUNT(*) FROM topics JOIN users ON user_id = opened_by
                GROUP BY 1 ORDER BY COUNT(*) DESC LIMIT 1"""
            ),
        ),
    ),
)
