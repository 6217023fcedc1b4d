"""The mix of a real platform: mostly `total` of busy senders, some listings, XML a tenth, a few mistakes.

Every answer is checked as it comes; a wrong one counts as a failure, and Locust ends with 1. If there are senders whose
writers keep a journal, half of the requests are for these; their answers are written to a file, for journal.py.
README.md beside this file says how to run it against any host, and on many machines.
"""

import json
import random
import time
from pathlib import Path
from typing import Any, TextIO
from xml.etree.ElementTree import ParseError

from locust import FastHttpUser, constant, events, task

from tests.load.answers import WrongAnswer, check_error, check_report, rows_of

STATS = "/api/v1.1/admin/senders/queue/stats/"
XML_SHARE = 0.1
NOTED_SHARE = 0.5
BAD_BODIES = {
    "json": ['{"token": "', '{"token": "TOKEN", "id": -1}', '{"token": "TOKEN", "id": 1, "group": "x"}'],
    "xml": ["<xml><token>", "<xml><token>TOKEN</token><id>1e2</id></xml>", "<xml><token>TOKEN</token></xml>"],
}


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator] # in locust
def add_options(parser: Any) -> None:
    parser.add_argument("--token", env_var="LOAD_TOKEN", default="", is_secret=True, help="API token to ask with")
    parser.add_argument(
        "--senders", env_var="LOAD_SENDERS", type=int, default=1000, help="senders 1 to this are asked for"
    )
    parser.add_argument(
        "--pause", env_var="LOAD_PAUSE", type=float, default=0.0, help="seconds between a client's requests"
    )
    parser.add_argument(
        "--noted", env_var="LOAD_NOTED", type=int, default=0, help="so many senders after --senders have a journal"
    )
    parser.add_argument("--answers", env_var="LOAD_ANSWERS", default="", help="a file for their answers")


@events.test_start.add_listener  # type: ignore[untyped-decorator] # in locust
def require_token(environment: Any, **_: Any) -> None:
    if not environment.parsed_options.token:
        raise SystemExit("--token (or LOAD_TOKEN) must be given: queuestats token create load")
    if environment.parsed_options.noted:
        Client.answers = Path(environment.parsed_options.answers).open("a", encoding="utf-8")  # noqa: SIM115


@events.quitting.add_listener  # type: ignore[untyped-decorator] # in locust
def close_answers(**_: Any) -> None:
    if Client.answers:
        Client.answers.close()


class Client(FastHttpUser):
    """One keep-alive connection, like a worker of a sending platform that asks before it sends on."""

    # `make load` and an operator name another one.
    host = "http://127.0.0.1:8080"
    network_timeout = connection_timeout = 30.0
    answers: TextIO | None = None

    def wait_time(self) -> float:
        pause: float = constant(self.environment.parsed_options.pause)(self)
        return pause

    def sender(self) -> int:
        """As seeded, sender 1 has most; the logarithm of the number is uniform, so busy ones are asked for most."""
        options = self.environment.parsed_options
        if options.noted and random.random() < NOTED_SHARE:
            return int(options.senders) + random.randint(1, options.noted)
        return int((options.senders + 1) ** random.random())

    @task(80)
    def total(self) -> None:
        self.ask("total")

    @task(8)
    def isp(self) -> None:
        self.ask("isp")

    @task(5)
    def account_campaign(self) -> None:
        self.ask("account_campaign")

    @task(3)
    def account(self) -> None:
        self.ask("account")

    @task(2)
    def wrong_token(self) -> None:
        format = any_format()
        body = body_of(format, "qs_unknown", self.sender(), "total")
        self.expect(401, format, body, f"wrong token, {format}")

    @task(2)
    def bad_body(self) -> None:
        format = any_format()
        body = random.choice(BAD_BODIES[format])
        token = self.environment.parsed_options.token
        self.expect(400, format, body.replace("TOKEN", token), f"bad body, {format}")

    def ask(self, group: str) -> None:
        format, sender_id = any_format(), self.sender()
        body = body_of(format, self.environment.parsed_options.token, sender_id, group)
        sent_at = time.monotonic()
        content = self.expect(200, format, body, f"{group}, {format}", group)
        if self.answers and content and sender_id > self.environment.parsed_options.senders:
            answer = [sent_at, time.monotonic(), sender_id, group, rows_of(content, format)]
            self.answers.write(f"{json.dumps(answer)}\n")

    def expect(self, status: int, format: str, body: str, name: str, group: str = "") -> bytes:
        """The response; empty where it was wrong."""
        with self.client.post(STATS, data=body, name=name, catch_response=True) as response:
            content: bytes = response.content or b""
            try:
                if response.status_code != status:
                    raise WrongAnswer(f"status {response.status_code} instead of {status}")
                if status == 200:
                    check_report(content, format, group)
                else:
                    check_error(content, format, status)
            except (WrongAnswer, ParseError, ValueError, KeyError, TypeError) as error:
                response.failure(f"{type(error).__name__}: {error}")
                return b""
            response.success()
            return content


def any_format() -> str:
    return "xml" if random.random() < XML_SHARE else "json"


def body_of(format: str, token: str, sender_id: int, group: str) -> str:
    if format == "json":
        return f'{{"token": "{token}", "id": {sender_id}, "group": "{group}"}}'
    return f"<xml><token>{token}</token><id>{sender_id}</id><group>{group}</group></xml>"
