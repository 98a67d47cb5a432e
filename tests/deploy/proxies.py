"""nginx and Caddy in front of the service, with the configurations in deploy/ and TLS by a self-signed certificate.

Usage: python3 tests/deploy/proxies.py PATH_OF_THE_BINARY

For each: signed bodies get through unchanged, the largest body too and one byte more does not, nothing but /webhook and
/webhook/meta is
passed on, the log names the client and not the proxy nor what the client made up, and when the service is down the
sender is told to come again. The client connects from 127.0.0.2, so that it can be told from the proxy. Seconds.
"""

import http.client
import json
import os
import pathlib
import ssl
import subprocess
import tempfile

from support import DEPLOY, Program, Service, answers, binary_argument, check, check_equal, free_port, message, sign, tool, wait_for

BODY_BYTES_MAX = 4194304
CLIENT = "127.0.0.2"


def certificate(directory):
    """A certificate for the example's name and its key, both new."""
    paths = [str(pathlib.Path(directory) / name) for name in ("cert.pem", "key.pem")]
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"]
    command += ["-subj", "/CN=inbox.example.com", "-addext", "subjectAltName=DNS:inbox.example.com,IP:127.0.0.1"]
    subprocess.run([*command, "-out", paths[0], "-keyout", paths[1]], check=True, capture_output=True, timeout=60)
    return paths


def adapted(name, replacements):
    """A file of deploy/ with what differs here; every example has to be in it."""
    text = (DEPLOY / name).read_text()
    for example, here in replacements:
        check(example in text, f"deploy/{name} has {example!r}", text)
        text = text.replace(example, here)
    return text


class Proxy(Program):
    """A proxy on a free loopback port."""

    def wait_until_ready(self):
        self.wait_until("the proxy listens", lambda: answers(self.port))

    def request(self, method, target, body=None, fields=None):
        trust = ssl.create_default_context(cafile=self.certificate)
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self.port, timeout=30, context=trust, source_address=(CLIENT, 0)
        )
        try:
            try:
                connection.request(method, target, body, {"Host": "inbox.example.com", **(fields or {})})
            except (ssl.SSLEOFError, ConnectionError):
                pass  # refused before its end; the answer is there all the same
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def post(self, body, signature=None, **fields):
        return self.request("POST", "/webhook", body, {"X-Signature": signature or sign(body), **fields})


class Nginx(Proxy):
    def __init__(self, directory, service):
        self.port = free_port()
        self.certificate, key = certificate(directory)
        site = pathlib.Path(directory) / "site.conf"
        site.write_text(
            adapted(
                "nginx.conf",
                [
                    ("    listen [::]:443 ssl;\n", ""),
                    ("listen 443 ssl;", f"listen 127.0.0.1:{self.port} ssl;"),
                    ("server 127.0.0.1:8000;", f"server 127.0.0.1:{service.port};"),
                    ("/etc/letsencrypt/live/inbox.example.com/fullchain.pem", self.certificate),
                    ("/etc/letsencrypt/live/inbox.example.com/privkey.pem", key),
                ],
            )
        )
        temporary = "".join(
            f"{name}_temp_path {directory}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        user = "user root;" if os.geteuid() == 0 else ""
        main = pathlib.Path(directory) / "nginx.conf"
        main.write_text(
            f"daemon off; master_process off; {user} pid {directory}/nginx.pid; error_log stderr;\nevents {{}}\n"
            f"http {{ access_log off;\n{temporary}include {site};\n}}\n"
        )
        super().__init__([tool("nginx"), "-e", "stderr", "-p", directory, "-c", main], directory)


class Caddy(Proxy):
    def __init__(self, directory, service):
        self.port = free_port()
        self.certificate, key = certificate(directory)
        site = f"{{\n\tadmin off\n\tauto_https off\n}}\n\nhttps://127.0.0.1:{self.port}, https://inbox.example.com:{self.port} {{\n"
        site += f"\tbind 127.0.0.1\n\ttls {self.certificate} {key}\n"
        replacements = [("inbox.example.com {\n", site), ("127.0.0.1:8000 {", f"127.0.0.1:{service.port} {{")]
        path = pathlib.Path(directory) / "Caddyfile"
        path.write_text(adapted("Caddyfile", replacements))
        environment = {"HOME": directory, "XDG_DATA_HOME": directory, "XDG_CONFIG_HOME": directory}
        command = [tool("caddy"), "run", "--config", path, "--adapter", "caddyfile"]
        super().__init__(command, directory, environment=environment)


def body_of(length):
    """A message as a body of so many bytes: white space at the end of JSON is nothing."""
    return message(f"body-{length}").ljust(length)


def check_proxy(binary, proxy_class):
    name = proxy_class.__name__
    with tempfile.TemporaryDirectory() as directory:
        meta = {"META_APP_SECRET": "app secret", "META_VERIFY_TOKEN": "token"}
        with Service(binary, directory, TRUSTED_PROXIES="127.0.0.1", **meta) as service:
            with proxy_class(directory, service) as proxy:
                check_through(name, proxy, service)
                check_equal(service.stop(), 0, "the service ends in order")
                status, fields, body = proxy.post(message("late"))
                found = (status, fields["Retry-After"], fields["Content-Type"], list(json.loads(body)))
                right = (503, "1", "application/json", ["detail"])
                check_equal(found, right, f"{name} tells the sender to come again when the service is down")
    print(f"proxies: {name} in front of the service does what deploy/ says")


def check_through(name, proxy, service):
    body = message("m1", "Grüße, 你好 \\ \" \u2028")
    status, fields, answer = proxy.post(body)
    check_equal((status, answer), (200, b'{"status":"ok"}'), f"a signed message gets through {name}")
    check(fields["X-Request-ID"], f"X-Request-ID gets through {name}", fields)
    check_equal(proxy.post(body, sign(body, "other"))[0], 401, f"a wrong signature gets through {name} as such")

    check_equal(proxy.post(body_of(BODY_BYTES_MAX))[0], 200, f"a body of MAX_BODY_BYTES gets through {name}")
    status, _, answer = proxy.post(body_of(BODY_BYTES_MAX + 1))
    found = (status, json.loads(answer))
    check_equal(found, (413, {"detail": "request body too large"}), f"one byte more is 413 with {name}")
    # http.client sends an iterator in chunks.
    status = proxy.post(iter([body[:10], body[10:]]), sign(body))[0]
    check_equal(status, 200, f"a chunked body gets through {name}")

    for target in ("/messages", "/stats", "/metrics", "/health/ready", "/openapi.json", "/webhook/", "/"):
        status, _, answer = proxy.request("GET", target)
        found = (status, json.loads(answer))
        check_equal(found, (404, {"detail": "Not Found"}), f"{name} does not pass on {target}")
    handshake = "/webhook/meta?hub.mode=subscribe&hub.verify_token=token&hub.challenge=1158201444"
    status, _, answer = proxy.request("GET", handshake)
    check_equal((status, answer), (200, b"1158201444"), f"Meta's handshake gets through {name}")
    signature = {"X-Hub-Signature-256": f"sha256={sign(body, 'app secret')}"}
    status = proxy.request("POST", "/webhook/meta", body, signature)[0]
    check_equal(status, 200, f"a delivery of Meta gets through {name}")
    check_equal(proxy.request("GET", "/webhook")[0], 405, f"a wrong method gets through {name} as such")

    forged = message("forged")
    check_equal(proxy.post(forged, **{"X-Forwarded-For": "203.0.113.9"})[0], 200, f"it gets through {name}")
    direct = message("direct")
    check_equal(service.post(direct, **{"X-Forwarded-For": "203.0.113.9"}), 200, "a trusted peer may say who it is for")

    def clients():
        return {line["message_id"]: line["client"] for line in service.log_lines() if "message_id" in line}

    wait_for("every line is in the log", lambda: {"m1", "forged", "direct"} <= clients().keys(), service.log)
    found = [clients()[message_id] for message_id in ("m1", "forged", "direct")]
    check_equal(found, [CLIENT, CLIENT, "203.0.113.9"], f"the log names the client behind {name}")


def main(binary):
    for proxy_class in (Nginx, Caddy):
        check_proxy(binary, proxy_class)


if __name__ == "__main__":
    main(binary_argument(__doc__))
