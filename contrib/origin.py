#!/usr/bin/env python3
"""A small web server to put behind a tunnel: a page, an echo, a stream. Python's standard library only.

    python3 contrib/origin.py [PORT]        (default 3000; 0 takes a free one)
"""
import html
import http.server
import sys
import time

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Hello through the tunnel</title>
<style>body {{ font: 1.1em/1.5 sans-serif; max-width: 40em; margin: 3em auto; padding: 0 1em }}</style>
<h1>Hello through the tunnel</h1>
<p>This page comes from a small web server on 127.0.0.1. You asked for <code>{target}</code> as
<code>{host}</code>, and are <code>{visitor}</code> to it.</p>
<ul>
<li><a href="/stream">/stream</a>: a line every half second, as it is written
<li><code>curl -d 'some text' URL/echo</code>: sends back what it gets
</ul>
"""
STREAM_LINES = 10
STREAM_PAUSE = 0.5
ECHO_MAX = 64 * 1024 * 1024


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, body, kind):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self):
        if self.path == "/stream":
            self.stream()
            return
        page = PAGE.format(target=html.escape(self.path), host=html.escape(self.headers.get("Host", "")),
                           visitor=html.escape(self.headers.get("X-Forwarded-For", self.client_address[0])))
        self.answer(page.encode(), "text/html; charset=utf-8")

    do_HEAD = do_GET

    def do_POST(self):
        body = self.read_body()
        if body is None:
            self.close_connection = True
            self.send_error(413)
        else:
            self.answer(body, self.headers.get("Content-Type", "application/octet-stream"))

    do_PUT = do_POST

    def read_body(self):
        """The request's body, or None when it is more than ECHO_MAX."""
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            length = int(self.headers.get("Content-Length", 0))
            return self.rfile.read(length) if length <= ECHO_MAX else None
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            if len(body) + size > ECHO_MAX:
                return None
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return body

    def stream(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if self.command == "HEAD":
            return
        for i in range(STREAM_LINES):
            line = f"line {i + 1} of {STREAM_LINES}\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
            time.sleep(STREAM_PAUSE)
        self.wfile.write(b"0\r\n\r\n")


def main():
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 3000
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    print(f"listening on http://127.0.0.1:{server.server_address[1]}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
