"""Does the service behave as its /openapi.json says?

Usage: python3 tests/deploy/openapi.py PATH_OF_THE_BINARY

schemathesis makes up requests from the document, right ones and wrong ones, and compares every answer with it. Before
that, what it cannot know: that the example's signature is right, that HEAD says what GET says, and that a cursor leads
on. Bounded by --max-examples: well under a minute.
"""

import json
import os
import re
import subprocess
import tempfile

from support import ROOT, Service, binary_argument, check, check_equal, message, sign, tool

RUN_SECONDS = 300
META_PATH = "/webhook/meta"


def check_example(document):
    operation = document["paths"]["/webhook"]["post"]
    body = operation["requestBody"]["content"]["application/json"]["examples"]["text"]["value"]
    signature = sign(json.dumps(body, separators=(",", ":")).encode(), "development-secret")
    check_equal(operation["parameters"][0]["example"], f"sha256={signature}", "the example is signed right")


def example_of(path):
    """The path with the first message's number in it."""
    return re.sub(r"\{\w+\}", "1", path)


def found(path):
    """The status of a right request. Meta is not configured, of a native message no delivery is kept, and no refusal has
    the id that is asked for."""
    return 404 if path == META_PATH or path.endswith("/delivery") or path.startswith("/refusals/") else 200


def check_head(service, document):
    for path, operations in document["paths"].items():
        if "get" not in operations:
            continue
        path = example_of(path)
        status, fields, body = service.request("HEAD", path)
        check_equal((status, body), (found(path), b""), f"HEAD {path} is answered without a body")
        right = service.request("GET", path)[1]
        check_equal(fields["Content-Type"], right["Content-Type"], f"HEAD {path} has the Content-Type of GET")


def check_cursor(service):
    for number in range(3):
        check_equal(service.post(message(f"m{number}")), 200, "a signed message is taken")
    target, seen = "/messages?limit=1", []
    while target:
        status, fields, body = service.request("GET", target)
        check_equal(status, 200, f"{target} is answered")
        seen += [item["message_id"] for item in json.loads(body)["data"]]
        link = fields["Link"]
        target = link and link.removeprefix("<").split(">")[0]
    check_equal(seen, ["m0", "m1", "m2"], "cursors lead through all messages")


def check_that_it_got_past_the_signature(service):
    samples = service.request("GET", "/metrics")[2].decode().splitlines()
    for results in (["created", "duplicate"], ["validation_error"], ["invalid_signature"]):
        names = [f'webhook_requests_total{{result="{result}"}} ' for result in results]
        count = sum(int(line.removeprefix(name)) for line in samples for name in names if line.startswith(name))
        check(count > 10, f"more than 10 deliveries ended as {' or '.join(results)}", "\n".join(samples))


def check_read_token(binary, document):
    """Where READ_TOKEN is set, exactly the operations that the document says need it."""
    token = {"Authorization": "Bearer token"}
    with tempfile.TemporaryDirectory() as directory, Service(binary, directory, READ_TOKEN="token") as service:
        check_equal(service.post(message("m1")), 200, "a signed message is taken")
        for path, operations in document["paths"].items():
            if "get" not in operations:
                continue
            needs_token = {"READ_TOKEN": []} in operations["get"].get("security", [])
            check_equal("401" in operations["get"]["responses"], needs_token, f"401 of {path} is described")
            path = example_of(path)
            status, fields, _ = service.request("GET", path)
            right = (401, "Bearer") if needs_token else (found(path), None)
            check_equal((status, fields["WWW-Authenticate"]), right, f"{path} without a token")
            check_equal(service.request("GET", path, fields=token)[0], found(path), f"{path} with the token")


def main(binary):
    with tempfile.TemporaryDirectory() as directory, Service(binary, directory) as service:
        status, fields, body = service.request("GET", "/openapi.json")
        check_equal((status, fields["Content-Type"]), (200, "application/json"), "/openapi.json is there")
        status, fields, _ = service.request("POST", "/openapi.json", b"")
        check_equal((status, fields["Allow"]), (405, "GET, HEAD"), "/openapi.json has GET and HEAD only")
        document = json.loads(body)
        check_example(document)
        check_cursor(service)
        check_head(service, document)
        environment = {
            **os.environ,
            "SCHEMATHESIS_HOOKS": "schemathesis_hooks",
            "PYTHONPATH": str(ROOT / "tests/deploy"),
        }
        command = [
            tool("schemathesis"),
            *("run", f"http://127.0.0.1:{service.port}/openapi.json"),
            *("--checks", "all", "--mode", "all", "--phases", "examples,coverage,fuzzing"),
            *("--max-examples", "200", "--seed", "1", "--no-color"),
        ]
        ran = subprocess.run(command, cwd=directory, env=environment, timeout=RUN_SECONDS)
        check_equal(ran.returncode, 0, "schemathesis finds no failure")
        check(service.is_ready(), "the service is ready after all that", service.log()[-2000:])
        check_that_it_got_past_the_signature(service)
    check_read_token(binary, document)
    print("openapi: the service does what /openapi.json says")


if __name__ == "__main__":
    main(binary_argument(__doc__))
