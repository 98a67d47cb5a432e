"""A smoke test of a built binary, as an operator would meet it: the static one has no other test.

Usage: python3 tests/deploy/smoke.py PATH_OF_THE_BINARY

Starts it on a free port with a database in a temporary directory, sends a signed message, asks every endpoint, stops it
with SIGTERM, and starts it again to see that the message is still there. Exit status 0 when all of that held.
"""

import json
import subprocess
import tempfile

from support import START_SECONDS, Service, binary_argument, check, check_equal, sign

MESSAGE = {
    "message_id": "smoke-1",
    "from": "+919876543210",
    "to": "+14155550100",
    "ts": "2025-01-15T10:00:00Z",
    "text": "Hello, мир",
}


def health(service):
    """The exit status of the subcommand that HEALTHCHECK uses."""
    command = [*service.command, "health"]
    return subprocess.run(command, env=service.environment, capture_output=True, timeout=START_SECONDS).returncode


def ask(service, method, target, body=None, fields=None):
    status, _, answer = service.request(method, target, body, fields)
    return status, answer.decode()


def post(service, **secret):
    body = json.dumps(MESSAGE).encode()
    return ask(service, "POST", "/webhook", body, {"X-Signature": sign(body, **secret)})


def check_message_is_there(service):
    status, body = ask(service, "GET", "/messages")
    check_equal(status, 200, "/messages answers")
    page = {"data": [MESSAGE], "total": 1, "limit": 50, "offset": 0}
    check_equal(json.loads(body), page, "/messages lists the message")
    status, body = ask(service, "GET", "/stats")
    check_equal((status, json.loads(body)["total_messages"]), (200, 1), "/stats counts the message")


def main(binary):
    refused = subprocess.run([binary], env={}, capture_output=True, text=True, timeout=START_SECONDS)
    check_equal(refused.returncode, 78, "without WEBHOOK_SECRET it does not start")
    check("WEBHOOK_SECRET" in refused.stderr, "it says that WEBHOOK_SECRET is missing", refused.stderr)

    with tempfile.TemporaryDirectory() as directory:
        service = Service(binary, directory)
        with service:
            check_equal(health(service), 0, "health succeeds")
            check_equal(ask(service, "GET", "/health/live"), (200, '{"status":"ok"}'), "it is live")
            check_equal(ask(service, "GET", "/health/ready"), (200, '{"status":"ready"}'), "it is ready")
            check_equal(post(service), (200, '{"status":"ok"}'), "a signed message is taken")
            check_equal(post(service), (200, '{"status":"ok"}'), "the same again is answered the same")
            check_equal(post(service, secret="other")[0], 401, "another secret is refused")
            check_message_is_there(service)
            status, body = ask(service, "GET", "/metrics")
            for sample in ('result="created"} 1', 'result="duplicate"} 1', 'result="invalid_signature"} 1'):
                sample = "webhook_requests_total{" + sample
                check(status == 200 and sample in body.splitlines(), f"/metrics has {sample}", body)
            check_equal(service.stop(), 0, "SIGTERM ends it with exit status 0")
            check_equal(health(service), 1, "health fails when nothing runs")
            for line in service.log().splitlines():
                json.loads(line)

        with service:
            check_message_is_there(service)
            check_equal(service.stop(), 0, "SIGTERM ends it with exit status 0 again")
    print(f"smoke: {binary} does what it should")


if __name__ == "__main__":
    main(binary_argument(__doc__))
