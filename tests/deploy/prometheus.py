"""Prometheus and the inbox: the page, the rules, the scrape example, the dashboard.

Usage: python3 tests/deploy/prometheus.py PATH_OF_THE_BINARY

promtool checks and tests the rules and checks /metrics. Then a real Prometheus with deploy/prometheus.yml scrapes the
running service and is asked how many messages were sent; every expression of the rules and the dashboard has to run
there, and every metric that they name has to be one that the service has. About half a minute.
"""

import json
import re
import subprocess
import tempfile
import urllib.parse
import urllib.request

from support import DEPLOY, Program, Service, binary_argument, check, check_equal, free_port, message, tool, wait_for

# The names that the contract fixes, and what promtool has against them.
EXPECTED_COMPLAINTS = ["request_latency_ms metric names should not contain abbreviated units"]
MESSAGES = 25


def promtool(*arguments, stdin=None):
    return subprocess.run(
        [tool("promtool"), *arguments], cwd=DEPLOY, input=stdin, capture_output=True, timeout=120, check=False
    )


def check_files():
    for arguments in (
        ["check", "config", "prometheus.yml"],
        ["check", "rules", "prometheus-rules.yml"],
        ["test", "rules", "prometheus-rules-test.yml"],
    ):
        ran = promtool(*arguments)
        check_equal(ran.returncode, 0, f"promtool {' '.join(arguments)} succeeds:\n{(ran.stdout + ran.stderr).decode()}")
    rules = set(re.findall(r"- alert: (\w+)", (DEPLOY / "prometheus-rules.yml").read_text()))
    tested = set(re.findall(r'alertname="(\w+)"', (DEPLOY / "prometheus-rules-test.yml").read_text()))
    check_equal(tested, rules, "every alert has a test in which it rings")


def check_page(page):
    ran = promtool("check", "metrics", stdin=page)
    complaints = (ran.stdout + ran.stderr).decode().splitlines()
    check_equal(complaints, EXPECTED_COMPLAINTS, "promtool has nothing against /metrics but what the contract fixes")


def expressions():
    """Those of the rules and of the dashboard, by where they stand, with Grafana's variables filled in."""
    dashboard = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield f"the panel {panel['title']!r}", target["expr"]
    for annotation in dashboard["annotations"]["list"]:
        yield f"the annotation {annotation['name']!r}", annotation["expr"]
    yield "the variable instance", "inbox_build_info"


def check_metrics_exist(page):
    """A name that is mistyped, or gone, makes an alert that never rings and a panel that is always empty."""
    known = {line.split()[2] for line in page.decode().splitlines() if line.startswith("# TYPE ")} | {"up"}
    texts = [(DEPLOY / "prometheus-rules.yml").read_text(), *(expression for _, expression in expressions())]
    for text in texts:
        for name in re.findall(r"\b(\w+)\{", text):
            family = re.sub(r"_(bucket|sum|count)$", "", name)
            check(name in known or family in known, f"the service has the metric {name}", text)


class Prometheus(Program):
    """A real one, on a loopback port, with deploy/prometheus.yml."""

    def __init__(self, directory, target):
        self.port = free_port()
        config = (DEPLOY / "prometheus.yml").read_text()
        for example, here in (
            ("127.0.0.1:8000", f"127.0.0.1:{target}"),
            ("scrape_interval: 15s", "scrape_interval: 1s"),
            ("evaluation_interval: 15s", "evaluation_interval: 1s"),
            ("- prometheus-rules.yml", f"- {DEPLOY / 'prometheus-rules.yml'}"),
        ):
            check(example in config, f"deploy/prometheus.yml has {example}", config)
            config = config.replace(example, here)
        path = f"{directory}/prometheus.yml"
        with open(path, "w", encoding="utf-8") as file:
            file.write(config)
        command = [tool("prometheus"), f"--config.file={path}", f"--storage.tsdb.path={directory}/tsdb"]
        super().__init__([*command, f"--web.listen-address=127.0.0.1:{self.port}"], directory)

    def wait_until_ready(self):
        self.wait_until("Prometheus is ready", self.is_ready)

    def is_ready(self):
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=5).status == 200
        except OSError:  # nothing listens yet, or 503: both are
            return False

    def api(self, path, **parameters):
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=20) as response:
            return json.load(response)["data"]

    def value(self, expression):
        result = self.api("query", query=expression)["result"]
        return float(result[0]["value"][1]) if result else None


def main(binary):
    check_files()
    with tempfile.TemporaryDirectory() as directory, Service(binary, directory) as service:
        for number in range(MESSAGES):
            check_equal(service.post(message(f"m{number}")), 200, "a signed message is taken")
        page = service.request("GET", "/metrics")[2]
        check_page(page)
        check_metrics_exist(page)
        with Prometheus(directory, service.port) as prometheus:
            query = 'sum(webhook_requests_total{job="webhook-inbox",result="created"})'
            stored = lambda: prometheus.value(query) == MESSAGES
            wait_for(f"Prometheus counts {MESSAGES} messages", stored, prometheus.log)
            check_equal(prometheus.value('up{job="webhook-inbox"}'), 1, "Prometheus has the target as up")
            check_equal(prometheus.value("inbox_ready"), 1, "the service is ready for Prometheus")
            for place, expression in expressions():
                for variable, here in (("$__rate_interval", "1m"), ("$instance", ".*")):
                    expression = expression.replace(variable, here)
                check("$" not in expression, f"every variable of {place} is known here", expression)
                prometheus.api("query", query=expression)  # raises if it cannot be run
            rules = [rule for group in prometheus.api("rules")["groups"] for rule in group["rules"]]
            faulty = [(rule["name"], rule.get("lastError")) for rule in rules if rule["health"] == "err"]
            check_equal(faulty, [], "Prometheus can evaluate every rule")
            firing = [rule["name"] for rule in rules if rule["state"] != "inactive"]
            check_equal(firing, [], "no alert rings for a healthy service")
            check_equal(prometheus.stop(), 0, "Prometheus ends in order")
    print(f"prometheus: it counts the {MESSAGES} messages, and {len(rules)} rules and the dashboard fit the service")


if __name__ == "__main__":
    main(binary_argument(__doc__))
