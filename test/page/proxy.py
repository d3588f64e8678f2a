"""A reverse proxy that serves the daemon below a path, as nginx would, and a page of a stranger beside it."""
import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PREFIX = "/tools/bw"

STRANGER = """<!DOCTYPE html><title>stranger</title>
<iframe src="http://%(address)s/"></iframe><script src="http://%(address)s/page.js"></script>
<script>
window.got = [];
fetch("http://%(address)s/bundles").then(() => got.push("fetch"), () => got.push("refused"));
const events = new EventSource("http://%(address)s/events");
events.onopen = () => got.push("events");
events.onerror = () => got.push("refused");
</script>"""


class Proxy(BaseHTTPRequestHandler):
    address = ""

    def do_GET(self):
        if self.path == "/stranger":
            return self.answer(200, "text/html", (STRANGER % {"address": self.address}).encode())
        if not self.path.startswith(PREFIX + "/"):
            return self.answer(404, "text/plain", b"not here\n")
        upstream = http.client.HTTPConnection(self.address, timeout=30)
        headers = {k: v for k, v in self.headers.items() if k.lower() not in ("connection", "accept-encoding")}
        upstream.request("GET", self.path[len(PREFIX):], headers=headers)
        response = upstream.getresponse()
        self.send_response(response.status)
        for name, value in response.getheaders():
            if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                self.send_header(name, value)
        self.end_headers()
        try:
            while chunk := response.read1(1 << 16):
                self.wfile.write(chunk)
                self.wfile.flush()
        except (OSError, http.client.HTTPException):
            pass  # the browser or the daemon went away
        finally:
            upstream.close()

    def answer(self, code, kind, body):
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def serve(address):
    """Returns the server; its port is server_port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("BoundProxy", (Proxy,), {"address": address}))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
